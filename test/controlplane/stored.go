// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// etcdClient keeps the connections of many that write at once.
var etcdClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

// keyValue is one of etcd's, in its JSON: bytes are in base64.
type keyValue struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value,omitempty"`
}

// Stored is what is under a key of etcd, such as /registry/rolebindings/default/view, as the
// API server wrote it. It must be there.
func (c *ControlPlane) Stored(ctx context.Context, key string) ([]byte, error) {
	var answer struct {
		KVs []keyValue `json:"kvs"`
	}
	if err := c.askEtcd(ctx, "range", keyValue{Key: []byte(key)}, &answer); err != nil {
		return nil, err
	}
	if len(answer.KVs) == 0 {
		return nil, fmt.Errorf("etcd has no %s", key)
	}
	return answer.KVs[0].Value, nil
}

// Store writes under a key of etcd, in the encoding of the API server and past it. It hears of
// that by its watch, as of what another API server writes.
func (c *ControlPlane) Store(ctx context.Context, key string, value []byte) error {
	return c.askEtcd(ctx, "put", keyValue{[]byte(key), value}, &struct{}{})
}

// askEtcd has etcd do something by its gateway, which takes JSON in place of gRPC.
func (c *ControlPlane) askEtcd(ctx context.Context, what string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.plane.Etcd.URL.JoinPath("v3", "kv", what).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := etcdClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // it was only read
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("etcd: %s: %s", res.Status, text)
	default:
		return json.Unmarshal(text, answer)
	}
}
