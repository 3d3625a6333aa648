// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/reap"
)

const (
	requestResource   = "accessrequests"
	decisionResource  = "accessdecisions"
	operatorNamespace = reap.OperatorNamespace
	operatorAccount   = reap.OperatorAccount
)

// cluster is the API server. It knows the kinds that the plugin uses by itself: no
// discovery of everything that there is, and none of the weight of a general client,
// at each start.
type cluster struct {
	config     *rest.Config
	http       *http.Client
	scheme     *runtime.Scheme
	parameters runtime.ParameterCodec
}

// object is one of the kinds that are read and written.
type object interface {
	runtime.Object
	metav1.Object
}

// connect prepares a connection. It sends nothing yet.
func (p *plugin) connect() (*cluster, error) {
	config, err := p.restConfig()
	if err != nil {
		return nil, err
	}
	c := &cluster{config: config, scheme: runtime.NewScheme()}
	metav1.AddToGroupVersion(c.scheme, schema.GroupVersion{Version: "v1"}) // options and statuses
	if err := kinds.AddToScheme(c.scheme); err != nil {
		return nil, err
	}
	c.parameters = runtime.NewParameterCodec(c.scheme)
	config.NegotiatedSerializer = serializer.NewCodecFactory(c.scheme).WithoutConversion()
	if c.http, err = rest.HTTPClientFor(config); err == nil && renews(config) {
		c.http.Transport = once401(c.http.Transport)
	}
	return c, err
}

// kinds are all that the plugin reads or writes.
var kinds = runtime.NewSchemeBuilder(v1alpha1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme, authenticationv1.AddToScheme,
	authorizationv1.AddToScheme, coordinationv1.AddToScheme)

// of is the client and the resource for a kind, or for a list of it.
func (c *cluster) of(obj runtime.Object) (client *rest.RESTClient, resource string, err error) {
	kinds, _, err := c.scheme.ObjectKinds(obj)
	if err != nil {
		return nil, "", err
	}
	kind := kinds[0]
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	config := rest.CopyConfig(c.config)
	version := kind.GroupVersion()
	config.GroupVersion, config.APIPath = &version, "/apis"
	if version.Group == "" {
		config.APIPath = "/api"
	}
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	client, err = rest.RESTClientForConfigAndClient(config, c.http)
	return client, plural.Resource, err
}

// get reads one object; one without a namespace has none.
func (c *cluster) get(ctx context.Context, namespace, name string, into object) error {
	client, resource, err := c.of(into)
	if err != nil {
		return err
	}
	return client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(name).Do(ctx).Into(into)
}

// list reads the objects of a namespace, or of all.
func (c *cluster) list(ctx context.Context, namespace string, into runtime.Object) error {
	return c.listWhere(ctx, namespace, fields.Everything(), into)
}

func (c *cluster) listWhere(ctx context.Context, namespace string, where fields.Selector, into runtime.Object) error {
	return c.listBy(ctx, namespace, &metav1.ListOptions{FieldSelector: where.String()}, into)
}

func (c *cluster) listBy(ctx context.Context, namespace string, options *metav1.ListOptions, into runtime.Object) error {
	client, resource, err := c.of(into)
	if err != nil {
		return err
	}
	return client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
		VersionedParams(options, c.parameters).Do(ctx).Into(into)
}

// watch tells what changes from a list on.
func (c *cluster) watch(ctx context.Context, namespace string, where fields.Selector, from *v1alpha1.AccessRequestList) (watch.Interface, error) {
	client, resource, err := c.of(from)
	if err != nil {
		return nil, err
	}
	options := &metav1.ListOptions{FieldSelector: where.String(), ResourceVersion: from.ResourceVersion, Watch: true}
	return client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
		VersionedParams(options, c.parameters).Watch(ctx)
}

// create stores an object, and reads into it what was stored; with dryRun
// metav1.DryRunAll nothing is.
func (c *cluster) create(ctx context.Context, obj object, dryRun ...string) error {
	client, resource, err := c.of(obj)
	if err != nil {
		return err
	}
	namespace := obj.GetNamespace()
	return client.Post().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
		VersionedParams(&metav1.CreateOptions{DryRun: dryRun, FieldManager: "kubectl-lapse"}, c.parameters).
		Body(obj).Do(ctx).Into(obj)
}

// read reads JSON from a path that is no object's.
func (c *cluster) read(ctx context.Context, path string, into any) error {
	client, _, err := c.of(&v1alpha1.AccessRequest{})
	if err != nil {
		return err
	}
	result := client.Get().AbsPath(path).Do(ctx)
	if err := result.Error(); err != nil { // Raw knows less of it
		return err
	}
	body, err := result.Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// delete deletes exactly this object, and not one that has its name later.
func (c *cluster) delete(ctx context.Context, obj object) error {
	client, resource, err := c.of(obj)
	if err != nil {
		return err
	}
	uid, namespace, background := obj.GetUID(), obj.GetNamespace(), metav1.DeletePropagationBackground
	return client.Delete().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(obj.GetName()).
		Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background}).Do(ctx).Error()
}

// patch merges into an object of this name, and reads into it what was stored.
func (c *cluster) patch(ctx context.Context, obj object, merge []byte) error {
	client, resource, err := c.of(obj)
	if err != nil {
		return err
	}
	namespace := obj.GetNamespace()
	return client.Patch(types.MergePatchType).NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(obj.GetName()).
		VersionedParams(&metav1.PatchOptions{FieldManager: "kubectl-lapse"}, c.parameters).Body(merge).Do(ctx).Into(obj)
}

// namespace is that of a page, else of -n, else of the kubeconfig, else default.
func (p *plugin) namespace() string {
	if p.within != "" {
		return p.within
	}
	name, _, err := p.config.load().Namespace()
	if err != nil {
		return metav1.NamespaceDefault // whatever is wrong, connect says it better
	}
	return name
}

// whoami is the caller, as the API server authenticated it.
func (c *cluster) whoami(ctx context.Context) (*v1alpha1.Identity, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.create(ctx, review); err != nil {
		return nil, fmt.Errorf("asking the API server who you are: %w", err)
	}
	who := review.Status.UserInfo
	return &v1alpha1.Identity{Username: who.Username, UID: who.UID, Groups: who.Groups, Extra: policy.Extra(who.Extra)}, nil
}

// serverClock is the API server's time, from the Date of its answers (RFC 9110,
// 6.6.1): access ends by that clock, whatever the one here says.
type serverClock struct{ ahead atomic.Int64 }

// tolerated is what a Date in whole seconds and the time of an answer may hide.
const tolerated = 2 * time.Second

func (s *serverClock) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		res, err := next.RoundTrip(req)
		if err != nil {
			return res, err
		}
		if date, parseErr := http.ParseTime(res.Header.Get("Date")); parseErr == nil {
			s.ahead.Store(int64(time.Since(date)))
		}
		return res, nil
	})
}

// skew is how far the clock here is ahead of the API server's, negative when behind;
// zero while the difference could be that of a Date in whole seconds.
func (s *serverClock) skew() time.Duration {
	if d := time.Duration(s.ahead.Load()); d.Abs() > tolerated {
		return d.Round(time.Second)
	}
	return 0
}

// now is the API server's time.
func (s *serverClock) now() time.Time { return time.Now().Add(-s.skew()) }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
