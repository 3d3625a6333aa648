// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// gate is an API server that accepts one token, and has one request.
type gate struct {
	mu       sync.Mutex
	accepted string
	renewed  string // what is accepted once a watch was seen
	refused  int
	created  []v1alpha1.AccessRequest
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	req := waitingRequest()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+g.accepted:
		g.refused++
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Reason: metav1.StatusReasonUnauthorized, Code: http.StatusUnauthorized,
		})
	case r.Method == http.MethodPost:
		var sent v1alpha1.AccessRequest
		_ = json.NewDecoder(r.Body).Decode(&sent)
		g.created = append(g.created, sent)
		_ = json.NewEncoder(w).Encode(sent)
	case r.URL.Query().Get("watch") != "": // ends at once, and with it what was accepted
		g.accepted = g.renewed
	default:
		if g.accepted == g.renewed {
			req.Status.State, req.ResourceVersion = v1alpha1.StateActive, "2"
		}
		_ = json.NewEncoder(w).Encode(v1alpha1.AccessRequestList{TypeMeta: kindOf("AccessRequestList"), Items: []v1alpha1.AccessRequest{*req}})
	}
}

func waitingRequest() *v1alpha1.AccessRequest {
	req := builders.Request("slow").In("payments").By("alice").Build()
	req.UID, req.TypeMeta = "u", kindOf("AccessRequest")
	req.Status.State = v1alpha1.StatePending
	return req
}

// counting is a credential plugin whose tokens are token-1, token-2 and so on, up to a last
// one; then it fails.
const counting = `#!/bin/sh
n=$(($(cat "$0.count" 2>/dev/null || echo 0) + 1))
echo $n > "$0.count"
[ $n -le LAST ] || { echo "your session is over" >&2; exit 7; }
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"token-'$n'"}}'
`

// behind is a plugin that asks the gate with the tokens of a credential plugin.
func behind(t *testing.T, g *gate, last string) (p *plugin, c *cluster, said *bytes.Buffer) {
	t.Helper()
	server := httptest.NewTLSServer(g)
	t.Cleanup(server.Close)
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	login := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(login, []byte(strings.ReplaceAll(counting, "LAST", last)), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	said = &bytes.Buffer{}
	p = newPlugin(genericiooptions.IOStreams{Out: said, ErrOut: said})
	p.config.overrides.ClusterInfo.Server, p.config.overrides.ClusterInfo.InsecureSkipTLSVerify = server.URL, true
	p.config.overrides.AuthInfo.Exec = &api.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: login, InteractiveMode: api.NeverExecInteractiveMode,
	}
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	return p, c, said
}

func TestATokenThatExpiresWhileItWaitsIsRenewed(t *testing.T) {
	g := &gate{accepted: "token-1", renewed: "token-2"}
	p, c, said := behind(t, g, "9")
	if err := p.await(t.Context(), c, waitingRequest(), 20*time.Second); err != nil {
		t.Errorf("the wait ended with: %v", err)
	}
	if g.refused != 1 || !strings.Contains(said.String(), "granted: ") {
		t.Errorf("%d calls were refused, and it said %q", g.refused, said)
	}
}

func TestWhatWasToBeCreatedIsSentAgainWhole(t *testing.T) {
	g := &gate{accepted: "token-2"}
	_, c, _ := behind(t, g, "9")
	if err := c.create(t.Context(), waitingRequest()); err != nil {
		t.Fatal(err)
	}
	if g.refused != 1 || len(g.created) != 1 || g.created[0].Name != "slow" {
		t.Errorf("%d calls were refused, and created is %+v", g.refused, g.created)
	}
}

func TestTheSecondTryHasNotTheTokenOfTheFirst(t *testing.T) {
	tries := 0
	send := once401(roundTripper(func(r *http.Request) (*http.Response, error) {
		tries++
		if r.Header.Get("Authorization") != "" {
			t.Error("client-go leaves a token alone that is there")
		}
		r.Header.Set("Authorization", "Bearer x")
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
	}))
	res, err := send.RoundTrip(httptest.NewRequest(http.MethodGet, "https://example.org", http.NoBody))
	if err != nil || res.StatusCode != http.StatusUnauthorized || tries != 2 {
		t.Errorf("after %d tries: %v, %v", tries, res, err)
	}
	_ = res.Body.Close()
}

func TestASecond401EndsTheWaitAndSaysWhatToDo(t *testing.T) {
	g := &gate{accepted: "token-1", renewed: "none"}
	p, c, said := behind(t, g, "9")
	err := p.await(t.Context(), c, waitingRequest(), 20*time.Second)
	var ended *exitError
	if !errors.As(err, &ended) || ended.code != exitFailed || g.refused != 2 {
		t.Fatalf("%d calls were refused, it ended with %v and said %q", g.refused, err, said)
	}
	for _, want := range []string{
		"error: the API server twice did not accept what the credential plugin " + p.credentials + " gives; log in again",
		"slow stays as it is",
	} {
		if !strings.Contains(ended.message, want) {
			t.Errorf("%q is missing in %q", want, ended.message)
		}
	}
}

func TestTheWordsOfAFailingCredentialPluginComeFirst(t *testing.T) {
	g := &gate{}
	p, c, said := behind(t, g, "0")
	err := p.await(t.Context(), c, waitingRequest(), 20*time.Second)
	want := "error: exec: executable " + p.credentials +
		" failed with exit code 7\nthe credential plugin of your kubeconfig gives no credentials"
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(said.String(), "trying again") {
		t.Errorf("it ended with %v and said %q", err, said)
	}
}

func TestAWaitLeavesTheWordsOfACredentialPluginOnTheScreen(t *testing.T) {
	g := &gate{}
	p, c, _ := behind(t, g, "0")
	var drawn bytes.Buffer
	w := &waiting{plugin: p, req: waitingRequest(), screen: &screen{w: &drawn, size: func() (int, int) { return 80, 24 }}, began: time.Now()}
	w.show()
	before := drawn.Len()
	failure := c.get(t.Context(), "payments", "slow", &v1alpha1.AccessRequest{})
	if passing(failure) {
		t.Error("a credential plugin that fails would be run again and again")
	}
	if done, _ := w.see(change{last: true, err: failure}); !done || drawn.Len() != before {
		t.Errorf("done %v, and it drew %q over what the credential plugin said", done, drawn.String()[before:])
	}
}
