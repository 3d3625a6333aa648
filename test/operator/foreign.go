// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Foreign is what admission of somebody else's sees: operations on a resource in a
// namespace.
type Foreign struct {
	Namespace, Group, Resource string
	Operations                 []admissionregistrationv1.OperationType
}

func (f Foreign) namespaces() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: f.Namespace}}
}

func (f Foreign) rule() admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: f.Operations,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{f.Group}, APIVersions: []string{"*"}, Resources: []string{f.Resource}},
	}
}

func (f Foreign) matches() *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{
		NamespaceSelector: f.namespaces(), ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: f.rule()}},
	}
}

// Refuse installs a policy that refuses all of it with a message. That takes a second or
// two to be in force; the caller sees when.
func (f Foreign) Refuse(ctx context.Context, c client.Client, message string) (remove func(context.Context) error, err error) {
	return f.Demand(ctx, c, "false", message)
}

// Demand is Refuse for all of which a CEL expression is not true.
func (f Foreign) Demand(ctx context.Context, c client.Client, expression, message string) (remove func(context.Context) error, err error) {
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{GenerateName: "foreign-"}}
	p.Spec.MatchConstraints = f.matches()
	p.Spec.Validations = []admissionregistrationv1.Validation{{Expression: expression, Message: message}}
	if err := c.Create(ctx, p); err != nil {
		return nil, err
	}
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	b.Spec.PolicyName, b.Spec.ValidationActions = p.Name, []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}
	return removing(c, p, b), c.Create(ctx, b)
}

// PutSubjectsBack has a webhook that gives an object the subjects that it had before an
// update, as tools do that keep objects as they are in Git. That takes a second or two to
// be in force; the caller sees when.
func (f Foreign) PutSubjectsBack(ctx context.Context, c client.Client) (remove func(context.Context) error, err error) {
	return f.put(ctx, c, "/subjects", subjectsBefore)
}

func subjectsBefore(req *admissionv1.AdmissionRequest) (any, error) {
	var old struct {
		Subjects []rbacv1.Subject `json:"subjects"`
	}
	err := json.Unmarshal(req.OldObject.Raw, &old)
	return old.Subjects, err
}

// Put has a webhook that puts a value at a path of an object, whatever is there. That takes
// a second or two to be in force; the caller sees when.
func (f Foreign) Put(ctx context.Context, c client.Client, path string, value any) (remove func(context.Context) error, err error) {
	return f.put(ctx, c, path, func(*admissionv1.AdmissionRequest) (any, error) { return value, nil })
}

// put has a webhook that puts at a path what it works out from what it is sent.
func (f Foreign) put(
	ctx context.Context, c client.Client, path string, valueOf func(*admissionv1.AdmissionRequest) (any, error),
) (remove func(context.Context) error, err error) {
	hook := httptest.NewTLSServer(answering(putting(path, valueOf)))
	config := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "foreign-"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "altering.example.com", AdmissionReviewVersions: []string{"v1"},
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), FailurePolicy: new(admissionregistrationv1.Fail),
			NamespaceSelector: f.namespaces(), Rules: []admissionregistrationv1.RuleWithOperations{f.rule()}, ClientConfig: clientOf(hook),
		}},
	}
	var once sync.Once
	remove = func(ctx context.Context) error {
		err := client.IgnoreNotFound(c.Delete(ctx, config))
		once.Do(hook.Close)
		return err
	}
	return remove, c.Create(ctx, config)
}

// putting answers with what is to be put at a path.
func putting(path string, valueOf func(*admissionv1.AdmissionRequest) (any, error)) answerer {
	return func(req *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
		value, err := valueOf(req)
		if err != nil {
			return nil, err
		}
		patch, err := json.Marshal([]map[string]any{{"op": "add", "path": path, "value": value}})
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: patch, PatchType: new(admissionv1.PatchTypeJSONPatch)}, err
	}
}

// answerer is what a webhook makes of what it is sent.
type answerer func(*admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)

func answering(answer answerer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		err := json.NewDecoder(r.Body).Decode(review)
		if err == nil {
			review.Response, err = answer(review.Request)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response.UID = review.Request.UID
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // whoever does not get it tells the caller
	}
}

func clientOf(hook *httptest.Server) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{
		URL: new(hook.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}),
	}
}

// Swallow has a webhook that answers nothing; what it was sent passes after a timeout in
// whole seconds. That takes a second or two to be in force; the caller sees when.
func (f Foreign) Swallow(ctx context.Context, c client.Client, timeout time.Duration) (remove func(context.Context) error, err error) {
	release := make(chan struct{})
	hook := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	return f.validate(ctx, c, hook, admissionregistrationv1.Ignore, timeout, func() {
		close(release)
		hook.Close()
	})
}

// Miss has a webhook that refuses all of it with 404, as one does that looks something up which
// is not there. That takes a second or two to be in force; the caller sees when.
func (f Foreign) Miss(ctx context.Context, c client.Client) (remove func(context.Context) error, err error) {
	hook := httptest.NewTLSServer(answering(func(*admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
		missing := apierrors.NewNotFound(corev1.Resource("configmaps"), "rules")
		return &admissionv1.AdmissionResponse{Result: &missing.ErrStatus}, nil
	}))
	return f.validate(ctx, c, hook, admissionregistrationv1.Fail, 10*time.Second, hook.Close)
}

// validate sends all of it to a webhook, which is closed when that is removed.
func (f Foreign) validate(
	ctx context.Context, c client.Client, hook *httptest.Server,
	failure admissionregistrationv1.FailurePolicyType, timeout time.Duration, closing func(),
) (remove func(context.Context) error, err error) {
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "foreign-"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "foreign.example.com", AdmissionReviewVersions: []string{"v1"},
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), FailurePolicy: new(failure),
			TimeoutSeconds: new(int32(timeout.Seconds())), ClientConfig: clientOf(hook),
			NamespaceSelector: f.namespaces(), Rules: []admissionregistrationv1.RuleWithOperations{f.rule()},
		}},
	}
	var once sync.Once
	remove = func(ctx context.Context) error {
		err := client.IgnoreNotFound(c.Delete(ctx, config))
		once.Do(closing)
		return err
	}
	return remove, c.Create(ctx, config)
}

func removing(c client.Client, policy, binding client.Object) func(context.Context) error {
	return func(ctx context.Context) error {
		return errors.Join(client.IgnoreNotFound(c.Delete(ctx, binding)), client.IgnoreNotFound(c.Delete(ctx, policy)))
	}
}
