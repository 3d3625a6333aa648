// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"bytes"
	"context"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/metrics"
	"github.com/lapse-dev/lapse/internal/receiver"
	"github.com/lapse-dev/lapse/internal/servertime"
)

// reloadEvery is how often it is looked whether the file of receivers changed.
const reloadEvery = 10 * time.Second

// MessageOptions are what messages need from outside.
type MessageOptions struct {
	// Path of the file of receivers.
	Path string
	// Cached reads from a cache that indexes decisions by their request.
	Cached client.Reader
	// Live reads past the cache, and Writer writes checkpoints.
	Live   client.Reader
	Writer client.Writer
	// Informers of the cache.
	Informers cache.Informers
	// Clock shows the API server's time.
	Clock *servertime.Clock
	// Namespace of the checkpoints.
	Namespace string
	// Admission says why the admission policies are not in force; empty while they are, or
	// nobody knows.
	Admission func() string
	// Behind names the sinks that take no records.
	Behind func() []string
	// Redact leaves out what people wrote.
	Redact bool
}

// Messages tell receivers, who are read from a file.
type Messages struct {
	o MessageOptions

	mu sync.Mutex
	// current are the messengers that run, and stop ends them.
	current []*messenger
	stop    func()
	// written are the points that were written last, by receiver.
	written map[string]writtenPoint

	// text of the file as it is in force, and problem of what it was last.
	text    []byte
	problem string
}

// SetupMessages adds to the manager what tells people.
func SetupMessages(mgr ctrl.Manager, o MessageOptions) error {
	return mgr.Add(manager.RunnableFunc(newMessages(o).Start))
}

func newMessages(o MessageOptions) *Messages {
	return &Messages{o: o, stop: func() {}, written: map[string]writtenPoint{}}
}

// Start tells until the context ends.
func (ms *Messages) Start(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { wait.UntilWithContext(ctx, ms.reload, reloadEvery) })
	wait.UntilWithContext(ctx, ms.checkpoint, checkpointEvery)
	running.Wait()
	ms.replace(ctx, nil)
	metrics.MessagesFileBad(false) // it is another replica that reads it now
	return nil
}

// reload reads the file if it changed. A bad one changes nothing.
func (ms *Messages) reload(ctx context.Context) {
	text, err := os.ReadFile(ms.o.Path)
	if err == nil && ms.problem == "" && ms.text != nil && bytes.Equal(text, ms.text) {
		return
	}
	var receivers []*receiver.Receiver
	if err == nil {
		receivers, err = receiver.Parse(text, receiver.Env{Now: ms.o.Clock.Now, Redact: ms.o.Redact})
	}
	if err != nil {
		metrics.MessagesFileBad(true)
		if err.Error() != ms.problem {
			log.FromContext(ctx).Error(err, "the file of --messages is not good; who was told before is told on", "path", ms.o.Path)
		}
		ms.problem = err.Error()
		return
	}
	metrics.MessagesFileBad(false)
	same := ms.text != nil && bytes.Equal(text, ms.text)
	ms.text, ms.problem = text, ""
	if same {
		return
	}
	for _, r := range receivers {
		log.FromContext(ctx).Info("messages go to a receiver", "receiver", r.Name, "type", r.Type)
	}
	ms.replace(ctx, receivers)
}

// replace those who are told. What was not told to one of them before is told on by its name.
func (ms *Messages) replace(ctx context.Context, receivers []*receiver.Receiver) {
	ms.mu.Lock()
	stop := ms.stop
	ms.mu.Unlock()
	stop()
	ms.checkpoint(ctx)
	ms.mu.Lock()
	defer ms.mu.Unlock()
	old := map[string]*messenger{}
	for _, m := range ms.current {
		metrics.MessagesBehind(m.to.Name, 0)
		old[m.to.Name] = m
	}
	ms.current, ms.written = nil, map[string]writtenPoint{}
	running, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, r := range receivers {
		m := newMessenger(ms.o, r)
		if before := old[r.Name]; before != nil { // it has ended
			m.broken, m.behind = before.broken, before.behind
		}
		ms.current = append(ms.current, m)
		all.Go(func() { wait.UntilWithContext(running, m.run, lookEvery) })
	}
	ms.stop = func() {
		cancel()
		all.Wait()
	}
}

// run tells until the context ends, or something is wrong.
func (m *messenger) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry))
	defer q.ShutDown()
	context.AfterFunc(ctx, q.ShutDown)
	for obj, events := range map[client.Object]handler.EventHandler{&v1alpha1.AccessRequest{}: m.inbox.requests(), &v1alpha1.AccessDecision{}: m.inbox.decisions()} {
		letGo, err := m.watch(ctx, obj, events, q)
		if err != nil {
			m.wait(ctx, err)
			return
		}
		defer letGo()
	}
	if err := m.begin(ctx); err != nil {
		m.wait(ctx, err)
		return
	}
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	looking.Go(func() { wait.UntilWithContext(ctx, m.count, lookEvery) })
	looking.Go(func() {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			if err := m.look(ctx); err != nil {
				log.FromContext(ctx).Error(err, "what is new of the guard or of records is not told yet", "receiver", m.to.Name)
			}
		}, lookEvery)
	})
	for ctx.Err() == nil && m.work(ctx, q) {
	}
}

// wait says why nothing is told yet.
func (m *messenger) wait(ctx context.Context, err error) {
	if ctx.Err() == nil {
		log.FromContext(ctx).Error(err, "messages wait", "receiver", m.to.Name)
	}
}

// watch objects until it is let go. All that there are have been seen then.
func (m *messenger) watch(ctx context.Context, obj client.Object, events handler.EventHandler, q queue) (letGo func(), err error) {
	informer, err := m.o.Informers.GetInformer(ctx, obj)
	if err != nil {
		return nil, err
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { events.Create(ctx, event.CreateEvent{Object: obj.(client.Object)}, q) },
		UpdateFunc: func(old, now any) {
			events.Update(ctx, event.UpdateEvent{ObjectOld: old.(client.Object), ObjectNew: now.(client.Object)}, q)
		},
		DeleteFunc: func(obj any) {
			if unseen, is := obj.(toolscache.DeletedFinalStateUnknown); is {
				obj = unseen.Obj
			}
			events.Delete(ctx, event.DeleteEvent{Object: obj.(client.Object)}, q)
		},
	})
	if err != nil {
		return nil, err
	}
	letGo = func() { _ = informer.RemoveEventHandler(registration) }
	if !toolscache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		letGo()
		return nil, context.Cause(ctx)
	}
	return letGo, nil
}

// work does what is next; false says that the queue has ended.
func (m *messenger) work(ctx context.Context, q queue) bool {
	key, ended := q.Get()
	if ended {
		return false
	}
	defer q.Done(key)
	result, err := m.Reconcile(ctx, key)
	switch {
	case err != nil:
		q.AddRateLimited(key)
	case result.RequeueAfter > 0:
		q.Forget(key)
		q.AddAfter(key, result.RequeueAfter)
	default:
		q.Forget(key)
	}
	return true
}
