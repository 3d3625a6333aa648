// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
)

const (
	// logSize is how long an audit log is, in bytes.
	logSize = 1_000_000_000
	// people have grants one after the other, each for the first hour of a shift.
	people     = 20
	grantsEach = 10
	shift      = 2 * time.Hour
	// pause from one call to the next. With it the log is of about a day.
	pause = 80 * time.Millisecond
)

// logBegins is when the first call is made.
var logBegins = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)

// traffic of a cluster: its audit log, with Metadata of all calls, and the records of the grants
// in it. It is the same each time. Of a thousand calls fifteen are of people.
type traffic struct {
	random *rand.Rand
	now    time.Time
	// grants by person, in order.
	grants [people][]*v1alpha1.AccessRequest
	// allowed is how many calls were allowed by the grants of each person.
	allowed map[string]int
	// Files with the records, and with the log, as it is and packed; size of the log, in bytes.
	records, plain, packed string
	size                   int
}

func person(p int) string { return fmt.Sprintf("oidc:person-%02d@example.com", p) }

func team(p int) string { return fmt.Sprint("team-", p%5) }

func newTraffic(b *testing.B) *traffic {
	b.Helper()
	dir := b.TempDir()
	t := &traffic{
		random: rand.New(rand.NewPCG(1, 2)), now: logBegins, allowed: map[string]int{},
		records: filepath.Join(dir, "records.jsonl"), plain: filepath.Join(dir, "audit.log"), packed: filepath.Join(dir, "audit.log.gz"),
	}
	for p := range people {
		for n := range grantsEach {
			t.grants[p] = append(t.grants[p], t.grant(p, n))
		}
	}
	t.writeRecords(b)
	t.writeLog(b)
	return t
}

// grant is the nth of a person.
func (t *traffic) grant(p, n int) *v1alpha1.AccessRequest {
	req := builders.Request(fmt.Sprintf("debug-%02d-%d", p, n)).In(team(p)).ForClusterRole("edit").Lasting(time.Hour).
		By(person(p)).To(builders.User(person(p))).Because("INC-4211: checkout is slow").Build()
	from := logBegins.Add(time.Duration(n) * shift)
	end := metav1.NewTime(from.Add(time.Hour))
	req.UID, req.CreationTimestamp = t.uid(), metav1.NewTime(from)
	req.Status = v1alpha1.AccessRequestStatus{
		State: v1alpha1.StateExpired, Policy: &v1alpha1.PolicyReference{Name: "oncall", UID: "1", Generation: 3},
		Grant: &v1alpha1.Grant{
			Binding: binding.Name(req), GrantedAt: metav1.NewTime(from), ExpiresAt: end, EndedAt: &end, EndReason: v1alpha1.ReasonExpired,
		},
	}
	return req
}

func (t *traffic) uid() types.UID {
	return types.UID(fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x",
		t.random.Uint32(), t.random.IntN(1<<16), t.random.IntN(1<<12), t.random.IntN(1<<12), t.random.Uint64()>>16))
}

func (t *traffic) writeRecords(b *testing.B) {
	b.Helper()
	var lines []byte
	chain := audit.NewChain("lapse-manager/1")
	for _, grants := range t.grants {
		for _, req := range grants {
			for _, r := range audit.Of("/clusters/1", req, nil) {
				line, err := chain.Append(r)
				check(b, err)
				lines = append(append(lines, line...), '\n')
			}
		}
	}
	check(b, os.WriteFile(t.records, lines, 0o600))
}

// writeLog writes it as kube-apiserver does: an Event to a line, and packed when it is rotated.
func (t *traffic) writeLog(b *testing.B) {
	b.Helper()
	plain, err := os.Create(t.plain)
	check(b, err)
	packed, err := os.Create(t.packed)
	check(b, err)
	lines, zip := bufio.NewWriterSize(plain, 1<<20), gzip.NewWriter(packed)
	for both := io.MultiWriter(lines, zip); t.size < logSize; {
		line, err := json.Marshal(t.call())
		check(b, err)
		n, err := both.Write(append(line, '\n'))
		check(b, err)
		t.size += n
	}
	for _, end := range []func() error{lines.Flush, zip.Close, plain.Close, packed.Close} {
		check(b, end())
	}
}

const reasonAnnotation = "authorization.k8s.io/reason"

// call is the next one.
func (t *traffic) call() *auditv1.Event {
	t.now = t.now.Add(pause)
	e := &auditv1.Event{
		TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: auditv1.SchemeGroupVersion.String()},
		Level:    auditv1.LevelMetadata, AuditID: t.uid(), Stage: auditv1.StageResponseComplete, ResponseStatus: &metav1.Status{Code: 200},
		SourceIPs:                []string{fmt.Sprintf("10.0.%d.%d", t.random.IntN(8), t.random.IntN(250))},
		RequestReceivedTimestamp: metav1.NewMicroTime(t.now), StageTimestamp: metav1.NewMicroTime(t.now.Add(3 * time.Millisecond)),
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow", reasonAnnotation: ""},
	}
	switch n := t.random.IntN(1000); {
	case n < 400:
		t.byNode(e)
	case n < 985:
		t.byController(e)
	default:
		t.byPerson(e)
	}
	return e
}

// byNode renews the lease of a node, which its own authorizer allows, without a reason.
func (t *traffic) byNode(e *auditv1.Event) {
	node := fmt.Sprint("worker-", t.random.IntN(200))
	e.Verb, e.RequestURI = "update", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+node+"?timeout=10s"
	e.User = authenticationv1.UserInfo{Username: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"}}
	e.UserAgent = "kubelet/v1.37.2 (linux/amd64) kubernetes/8c9d5e1"
	e.ObjectRef = &auditv1.ObjectReference{
		Resource: "leases", Namespace: "kube-node-lease", Name: node, UID: t.uid(), APIGroup: "coordination.k8s.io", APIVersion: "v1",
		ResourceVersion: fmt.Sprint(t.random.IntN(1 << 30)),
	}
}

func (t *traffic) byController(e *auditv1.Event) {
	name, ns := fmt.Sprint("controller-", t.random.IntN(40)), team(t.random.IntN(people))
	object := fmt.Sprint("checkout-", t.random.IntN(500))
	e.Verb = []string{"get", "list", "patch", "update"}[t.random.IntN(4)]
	e.RequestURI = "/apis/apps/v1/namespaces/" + ns + "/deployments/" + object
	e.User = authenticationv1.UserInfo{
		Username: "system:serviceaccount:" + ns + ":" + name, UID: "0b8f4f0e-6f0e-4c8e-9d0c-1f6f1f2f3f4f",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"},
		Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/credential-id": {"JTI=" + string(t.uid())},
			"authentication.kubernetes.io/pod-name":      {name + "-7d9f"},
		},
	}
	e.UserAgent = name + "/v0.0.0 (linux/amd64) kubernetes/$Format"
	e.ObjectRef = &auditv1.ObjectReference{Resource: "deployments", Namespace: ns, Name: object, APIGroup: "apps", APIVersion: "v1"}
	e.Annotations[reasonAnnotation] = fmt.Sprintf("RBAC: allowed by ClusterRoleBinding %q of ClusterRole %q to ServiceAccount %q",
		name, name, name+"/"+ns)
}

// byPerson is a call that a grant allowed, two times of three while there is one.
func (t *traffic) byPerson(e *auditv1.Event) {
	p, since := t.random.IntN(people), t.now.Sub(logBegins)
	who, ns, pod := person(p), team(p), fmt.Sprint("checkout-", t.random.IntN(500))
	e.Verb, e.RequestURI = "get", "/api/v1/namespaces/"+ns+"/pods/"+pod
	e.User = authenticationv1.UserInfo{Username: who, Groups: []string{"oidc:developers", "system:authenticated"}}
	e.UserAgent = "kubectl/v1.37.2 (linux/amd64) kubernetes/8c9d5e1"
	e.ObjectRef = &auditv1.ObjectReference{Resource: "pods", Namespace: ns, Name: pod, APIVersion: "v1"}
	e.Annotations[reasonAnnotation] = fmt.Sprintf("RBAC: allowed by RoleBinding %q of ClusterRole %q to Group %q",
		"standing/"+ns, "view", "oidc:developers")
	if n := int(since / shift); n < grantsEach && since%shift < time.Hour && t.random.IntN(3) > 0 {
		name := t.grants[p][n].Status.Grant.Binding + "/" + ns
		e.Annotations[reasonAnnotation] = fmt.Sprintf("RBAC: allowed by RoleBinding %q of ClusterRole %q to User %q", name, "edit", who)
		t.allowed[who]++
	}
}
