// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// person has a certificate of his own, and every call of his is in a ledger.
type person struct {
	client.Client
	name   string
	config *rest.Config
}

// elsewhere stands for what allows a call and is no grant, such as a standing right.
const elsewhere = ""

type allowing struct{}

// under says by which grants calls with this context may be allowed, by the names of their
// requests: the API server names one of them. Without any, nothing allows the calls. Those of
// which nothing is said are allowed elsewhere.
func under(ctx context.Context, grants ...string) context.Context {
	return context.WithValue(ctx, allowing{}, grants)
}

// call is what its caller knows of it.
type call struct {
	// id is the auditID that the API server logs.
	id, who, uri                    string
	verb, resource, namespace, name string
	code                            int
	by                              []string
	// closed is when a session was over; zero for what is none.
	closed time.Time
	// received is when the API server got it. This alone is from its log, since grants begin
	// and end with a second, and between a call and its answer a second may begin.
	received time.Time
}

// ledger is what people did, in the order in which they began to.
type ledger struct {
	mu    sync.Mutex
	calls []*call
}

var requestInfo = request.RequestInfoFactory{
	APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
}

// person joins the ledger.
func (l *ledger) person(plane *controlplane.ControlPlane, name string, groups ...string) *person {
	GinkgoHelper()
	config, err := plane.User(name, groups...)
	Expect(err).NotTo(HaveOccurred())
	seen := rest.CopyConfig(config)
	seen.ContentType = runtime.ContentTypeJSON // for nameIn
	seen.Wrap(func(next http.RoundTripper) http.RoundTripper { return &witness{next: next, ledger: l, who: name} })
	return &person{Client: operator.NewClient(GinkgoTB(), seen), name: name, config: config}
}

// witness writes down each call, also those that a client makes again by itself.
type witness struct {
	next   http.RoundTripper
	ledger *ledger
	who    string
}

// RoundTrip makes the call under an ID of the ledger's.
func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	c, err := w.ledger.note(w.who, req)
	if err != nil {
		return nil, err
	}
	res, err := w.next.RoundTrip(req)
	if err == nil {
		w.ledger.answered(c, res.StatusCode)
	}
	return res, err
}

// note a call that is about to be made, and give it its ID.
func (l *ledger) note(who string, req *http.Request) (*call, error) {
	info, err := requestInfo.NewRequestInfo(req)
	if err != nil {
		return nil, err
	}
	by, said := req.Context().Value(allowing{}).([]string)
	if !said || !info.IsResourceRequest { // clients look by themselves what there is
		by = []string{elsewhere}
	}
	c := &call{
		who: who, uri: req.URL.RequestURI(), by: by,
		verb: info.Verb, resource: info.Resource, namespace: info.Namespace, name: info.Name,
	}
	if info.APIGroup != "" {
		c.resource += "." + info.APIGroup
	}
	if info.Subresource != "" {
		c.resource += "/" + info.Subresource
	}
	if c.verb == "create" && c.name == "" {
		if c.name, err = nameIn(req); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.id = fmt.Sprintf("%s-%03d", who, len(l.calls)+1)
	l.calls = append(l.calls, c)
	req.Header.Set(auditv1.HeaderAuditID, c.id)
	return c, nil
}

// nameIn the object that a request has.
func nameIn(req *http.Request) (string, error) {
	if req.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return "", err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	var object metav1.PartialObjectMetadata
	err = json.Unmarshal(body, &object)
	return object.Name, err
}

func (l *ledger) answered(c *call, code int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.code = code
	if len(c.by) == 0 && c.verb == "create" {
		c.name = "" // whoever refuses it does not read the object
	}
}

// compare with the log of the API server: it has each call of these people once, and no other.
func (l *ledger) compare(log []auditv1.Event, people []string) {
	GinkgoHelper()
	known, seen := map[string]*call{}, map[string]int{}
	for _, c := range l.calls {
		known[c.id] = c
	}
	for i := range log {
		e := &log[i]
		if e.Stage != auditv1.StageResponseComplete || !slices.Contains(people, e.User.Username) {
			continue
		}
		c := known[string(e.AuditID)]
		Expect(c).NotTo(BeNil(), "%s did what is not in the ledger: %s %s", e.User.Username, e.Verb, e.RequestURI)
		Expect(e.RequestURI).To(Equal(c.uri))
		c.received = e.RequestReceivedTimestamp.Time
		seen[c.id]++
	}
	for _, c := range l.calls {
		Expect(seen[c.id]).To(Equal(1), "how often the log has the call %s: %s %s", c.id, c.verb, c.uri)
	}
}

// held is a grant as it was in the cluster.
type held struct {
	request, namespace, holder string
	from, until                time.Time
}

// checkNames finds by which grant each call was allowed, as the report says, and holds that
// against what may have allowed it.
func (l *ledger) checkNames(histories []history) (named map[string]string) {
	GinkgoHelper()
	named = map[string]string{}
	for _, h := range histories {
		for _, c := range h.Calls {
			Expect(named).NotTo(HaveKey(c.AuditID), "two grants are said to have allowed it")
			named[c.AuditID] = h.Request.Name
		}
	}
	for _, c := range l.calls {
		what := fmt.Sprintf("%s: %s %s", c.id, c.verb, c.uri)
		if len(c.by) == 0 {
			Expect(c.code).To(Equal(http.StatusForbidden), what)
			Expect(named).NotTo(HaveKey(c.id), what)
			continue
		}
		Expect(c.by).To(ContainElement(named[c.id]), what)
	}
	return named
}

// expected is what a report has to tell of the calls that concern a grant, in its three
// classes. A call that another grant allowed, in the time and place of this one and by its
// holder, is one that something else allowed.
func (l *ledger) expected(g *held, named map[string]string) (calls, others, refused []toldCall) {
	for _, c := range l.calls {
		within := c.who == g.holder && c.namespace == g.namespace && !c.received.Before(g.from) && c.received.Before(g.until)
		told := toldCall{
			AuditID: c.id, User: c.who, Verb: c.verb, Resource: c.resource, Namespace: c.namespace, Name: c.name, Code: c.code,
			Session: !c.closed.IsZero(), Outlived: c.closed.After(g.until),
		}
		switch {
		case named[c.id] == g.request:
			calls = append(calls, told)
		case within && len(c.by) == 0:
			refused = append(refused, told)
		case within:
			if by := named[c.id]; by != elsewhere {
				told.AllowedByGrant = c.namespace + "/" + by // where its holder may have two
			}
			others = append(others, told)
		}
	}
	return calls, others, refused
}

// history is what a report prints of a request, as JSON.
type history struct {
	Request   audit.Request
	Decisions []audit.Decision
	Grant     *audit.Grant
	Forgotten *time.Time `json:"forgottenAt"`
	Calls     []toldCall
	Others    []toldCall `json:"otherCalls"`
	Refused   []toldCall `json:"refusedCalls"`
}

// toldCall is what it prints of a call, but for what depends on the clock, the client and the
// words of kube-apiserver.
type toldCall struct {
	AuditID, User, Verb, Resource, Namespace, Name, AllowedByGrant string
	Code                                                           int
	Session, Outlived                                              bool
}
