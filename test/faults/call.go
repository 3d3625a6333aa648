// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// Call is one request to the API server, as its authorizer would name it.
type Call struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
	// DryRun of a mutating call changes nothing.
	DryRun bool
}

// Mutates says whether the call is meant to change an object that lasts: no review,
// no dry run.
func (c Call) Mutates() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, c.Verb) &&
		!c.DryRun && c.Group != "authorization.k8s.io" && c.Group != "authentication.k8s.io"
}

// Is says whether the call is this verb on this resource, such as "accessrequests/status".
func (c Call) Is(verb, resource string) bool {
	name := c.Resource
	if c.Subresource != "" {
		name += "/" + c.Subresource
	}
	return c.Verb == verb && name == resource && !c.DryRun
}

// String names the call in a table.
func (c Call) String() string {
	if c.Subresource != "" {
		return c.Verb + " " + c.Resource + "/" + c.Subresource
	}
	return c.Verb + " " + c.Resource
}

var requestInfo = request.RequestInfoFactory{
	APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
}

func callOf(r *http.Request) Call {
	info, err := requestInfo.NewRequestInfo(r)
	if err != nil || !info.IsResourceRequest {
		return Call{Verb: r.Method}
	}
	return Call{
		Verb: info.Verb, Group: info.APIGroup, Resource: info.Resource, Subresource: info.Subresource,
		Namespace: info.Namespace, Name: info.Name, DryRun: r.URL.Query().Get("dryRun") != "",
	}
}

// Effect is what becomes of a call. The zero value forwards it.
type Effect struct {
	// Before is called before anything else is done.
	Before func()
	// Delay is how long the call waits before it is forwarded, if the caller does.
	Delay time.Duration
	// Hang answers nothing until the caller gives up. The call is not forwarded.
	Hang bool
	// Drop cuts the connection. The call is not forwarded.
	Drop bool
	// Status is answered in place of the API server, which is not asked.
	Status int
	// After is called when the API server has answered, before that is relayed.
	After func()
	// Mute cuts the connection in place of relaying the answer.
	Mute bool
	// Body is answered in place of the API server, as a stream that stays open.
	Body []byte
}

// Fault decides what becomes of each call. It is called from many goroutines.
type Fault func(Call) Effect

// At has an effect on the k-th call, counted from 1, that matches, and on times-1
// after it.
func At(k, times int64, match func(Call) bool, effect Effect) Fault {
	var n atomic.Int64
	return func(c Call) Effect {
		if !match(c) {
			return Effect{}
		}
		if i := n.Add(1); i < k || i >= k+times {
			return Effect{}
		}
		return effect
	}
}
