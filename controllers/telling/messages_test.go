// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
)

// informers are real ones over sources that the test feeds.
type informers struct {
	cache.Informers
	requests, decisions toolscache.SharedIndexInformer
}

func (i *informers) GetInformer(_ context.Context, obj client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	if _, is := obj.(*v1alpha1.AccessRequest); is {
		return i.requests, nil
	}
	return i.decisions, nil
}

// shared is a cluster that several look at at once.
type shared struct {
	*cluster
	mu sync.Mutex
}

func (s *shared) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.Get(ctx, key, obj, opts...)
}

func (s *shared) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster.List(ctx, list, opts...)
}

func (s *shared) have(req *v1alpha1.AccessRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version += 1000 // further than the source counts
	s.requests[client.ObjectKeyFromObject(req)] = req.DeepCopy()
}

// refused is a request that is over.
func refused(name string) *v1alpha1.AccessRequest {
	req := builders.Request(name).In("payments").By("alice").ForClusterRole("edit").Build()
	now := metav1.NewTime(clock.RealClock{}.Now())
	req.UID, req.CreationTimestamp = types.UID("uid-"+name), now
	req.Status.State = v1alpha1.StateDenied
	req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonDenied, LastTransitionTime: now}}
	return req
}

// hooks are webhooks of chats: what was sent to each path, in order.
func hooks(t *testing.T) (url, ca string, said chan string) {
	t.Helper()
	said = make(chan string, 100)
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
		body, _ := io.ReadAll(got.Body)
		for _, name := range []string{"first", "second", "third"} {
			if strings.Contains(string(body), "/"+name) {
				said <- got.URL.Path + " " + name
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, writeFile(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), said
}

func TestTheFileIsReadAnewAndABadOneChangesNothing(t *testing.T) {
	c := &shared{cluster: newCluster(t)}
	source := fcache.NewFakeControllerSource()
	i := &informers{
		requests:  toolscache.NewSharedIndexInformer(source, &v1alpha1.AccessRequest{}, 0, nil),
		decisions: toolscache.NewSharedIndexInformer(fcache.NewFakeControllerSource(), &v1alpha1.AccessDecision{}, 0, nil),
	}
	go i.requests.RunWithContext(t.Context())
	go i.decisions.RunWithContext(t.Context())
	url, ca, said := hooks(t)
	path := writeFile(t, "messages.yaml", nil)
	write := func(receiver string) {
		t.Helper()
		text := fmt.Sprintf("receivers: [{name: %s, type: slack, url: %q, caFile: %s, events: [refused]}]", receiver, url+"/"+receiver, ca)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ms := newMessages(MessageOptions{
		Path: path, Cached: c, Live: c, Writer: c, Informers: i, Clock: servertime.New(clock.RealClock{}), Namespace: "lapse-system",
		Admission: func() string { return "" }, Behind: func() []string { return nil },
	})
	n := 0
	happens := func(name, want string) {
		t.Helper()
		begun := func(context.Context) (bool, error) {
			_, _, begun := ms.current[0].point()
			return begun, nil
		}
		if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, begun); err != nil {
			t.Fatal(err)
		}
		req := refused(name)
		n++
		req.ResourceVersion = strconv.Itoa(n) // as the source counts
		c.have(req)
		source.Add(req)
		if got := <-said; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	ms.reload(t.Context())
	if ms.current != nil {
		t.Fatal("an empty file has receivers")
	}
	write("sre")
	ms.reload(t.Context())
	happens("first", "/sre first")
	write("SRE")
	ms.reload(t.Context())
	happens("second", "/sre second")
	write("leads")
	ms.reload(t.Context())
	happens("third", "/leads third")
	ms.replace(t.Context(), nil)
	lease, err := ms.lease(t.Context())
	if err != nil || len(lease.Annotations) != 1 || lease.Annotations[messagesAnnotation+"leads"] == "" {
		t.Errorf("%v: %v", err, lease)
	}
	if len(said) > 0 {
		t.Errorf("told more than that: %s", <-said)
	}
}

func (ms *Messages) lease(ctx context.Context) (*metav1.ObjectMeta, error) {
	lease, err := checkpoints{live: ms.o.Live, namespace: ms.o.Namespace}.lease(ctx)
	if err != nil || lease == nil {
		return nil, err
	}
	return &lease.ObjectMeta, nil
}
