// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package argocd runs the health checks for Argo CD on objects in every state.
package argocd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

const kind = "resource.customizations.health.lapse.dev_"

// shipped is the data of what is merged into argocd-cm.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config.Data
}

// health runs a check as Argo CD does, which opens no more than these libraries.
func health(t *testing.T, script string, obj any) (status, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	state.SetGlobal("obj", value(state, plain))
	if err := state.DoString(script); err != nil {
		t.Fatalf("%v in\n%s", err, script)
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the answer is %s", state.Get(-1))
	}
	return answer.RawGetString("status").String(), answer.RawGetString("message").String()
}

// value is what JSON has, in Lua.
func value(state *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		table := state.NewTable()
		for name, item := range v {
			table.RawSetString(name, value(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range v {
			table.Append(value(state, item))
		}
		return table
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	default:
		return lua.LNil
	}
}

// conditions are such as the operator writes: Ready, and beside it those that are true.
func conditions(ready metav1.ConditionStatus, reason string, also ...string) []metav1.Condition {
	all := make([]metav1.Condition, 0, 1+len(also))
	all = append(all, metav1.Condition{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: "why"})
	for _, kind := range also {
		all = append(all, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "why"})
	}
	return all
}

func TestHealthOfARequest(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	states := map[v1alpha1.RequestState]struct {
		conditions []metav1.Condition
		want       string
	}{
		v1alpha1.StatePending:   {conditions(unknown, v1alpha1.ReasonPendingApproval, v1alpha1.ConditionReconciling), "Suspended"},
		v1alpha1.StateScheduled: {conditions(unknown, v1alpha1.ReasonScheduled, v1alpha1.ConditionReconciling), "Suspended"},
		v1alpha1.StateActive:    {conditions(yes, v1alpha1.ReasonGranted, v1alpha1.ConditionGranted), "Healthy"},
		v1alpha1.StateExpired:   {conditions(yes, v1alpha1.ReasonExpired), "Healthy"},
		v1alpha1.StateReturned:  {conditions(yes, v1alpha1.ReasonReturned), "Healthy"},
		v1alpha1.StateDenied:    {conditions(no, v1alpha1.ReasonDenied, v1alpha1.ConditionStalled), "Degraded"},
		v1alpha1.StateRevoked:   {conditions(no, v1alpha1.ReasonTampered, v1alpha1.ConditionStalled), "Degraded"},
		v1alpha1.StateFailed:    {conditions(no, v1alpha1.ReasonBindForbidden, v1alpha1.ConditionReconciling), "Progressing"},
	}
	script := shipped(t)[kind+"AccessRequest"]
	for _, state := range statesOf(t) {
		t.Run(string(state), func(t *testing.T) {
			tc, known := states[state]
			if !known {
				t.Fatal("a state that nobody tried")
			}
			req := builders.Request("debug").Build()
			req.Generation, req.Status.ObservedGeneration, req.Status.State, req.Status.Conditions = 1, 1, state, tc.conditions
			if got, message := health(t, script, req); got != tc.want || message != string(state)+": why" {
				t.Errorf("it is %s, %q; want %s", got, message, tc.want)
			}
			req.Generation = 2
			if got, _ := health(t, script, req); got != "Progressing" {
				t.Errorf("of another generation it is %s", got)
			}
		})
	}
	t.Run("new", func(t *testing.T) {
		req := builders.Request("debug").Build()
		req.Generation, req.Status.ObservedGeneration = 1, -1
		for _, obj := range []any{req, map[string]any{"metadata": map[string]any{"generation": 1}}} {
			if got, message := health(t, script, obj); got != "Progressing" || message != "the operator has not looked at it yet" {
				t.Errorf("it is %s, %q", got, message)
			}
		}
	})
}

// statesOf are all that the schema knows.
func statesOf(t *testing.T) (states []v1alpha1.RequestState) {
	t.Helper()
	text, err := os.ReadFile("../crd/bases/lapse.dev_accessrequests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		t.Fatal(err)
	}
	for _, value := range crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Properties["state"].Enum {
		states = append(states, v1alpha1.RequestState(strings.Trim(string(value.Raw), `"`)))
	}
	if len(states) < 8 {
		t.Fatalf("only %v; the schema is read wrongly", states)
	}
	return states
}

func TestHealthOfAPolicy(t *testing.T) {
	for name, tc := range map[string]struct {
		observed   int64
		conditions []metav1.Condition
		want       string
	}{
		"new":           {0, nil, "Progressing"},
		"changed":       {1, conditions(metav1.ConditionTrue, v1alpha1.ReasonValid), "Progressing"},
		"in force":      {2, conditions(metav1.ConditionTrue, v1alpha1.ReasonValid), "Healthy"},
		"not in force":  {2, conditions(metav1.ConditionFalse, v1alpha1.ReasonDangerousRole, v1alpha1.ConditionStalled), "Degraded"},
		"without Ready": {2, nil, "Progressing"},
	} {
		t.Run(name, func(t *testing.T) {
			p := builders.Policy("oncall").Build()
			p.Generation, p.Status.ObservedGeneration, p.Status.Conditions = 2, tc.observed, tc.conditions
			if got, message := health(t, shipped(t)[kind+"AccessPolicy"], p); got != tc.want || message == "" {
				t.Errorf("it is %s, %q; want %s", got, message, tc.want)
			}
		})
	}
}

func TestHealthOfADecision(t *testing.T) {
	d := builders.Decision("yes", builders.Request("debug").Build(), v1alpha1.VerdictApprove)
	if got, _ := health(t, shipped(t)[kind+"AccessDecision"], d); got != "Healthy" {
		t.Errorf("it is %s", got)
	}
}

func TestEachKindHasAHealthAndNoneAnAction(t *testing.T) {
	data := shipped(t)
	crds, err := filepath.Glob("../crd/bases/*.yaml")
	if err != nil || len(crds) < 3 {
		t.Fatalf("only %v: %v", crds, err)
	}
	known := make([]string, 0, len(crds))
	for _, path := range crds {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			t.Fatal(err)
		}
		known = append(known, kind+crd.Spec.Names.Kind)
	}
	for _, name := range known {
		if data[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	for name := range data {
		if !slices.Contains(known, name) {
			t.Errorf("%s is the health of none of Lapse's kinds: Argo CD's account would act, and not a person", name)
		}
	}
}

func TestTheComponentAddsToWhatArgoCDHas(t *testing.T) {
	files, here := filesys.MakeFsInMemory(), map[string]string{
		"/argocd/kustomization.yaml": "resources: [cm.yaml]\ncomponents: [../lapse]\nnamespace: argocd\n",
		"/argocd/cm.yaml":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm}\ndata: {url: https://cd.example.com}\n",
	}
	for _, name := range []string{"kustomization.yaml", "argocd-cm.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		here["/lapse/"+name] = string(text)
	}
	for path, text := range here {
		if err := files.WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/argocd")
	if err != nil || built.Size() != 1 {
		t.Fatalf("%v: %v", built, err)
	}
	data := built.Resources()[0].GetDataMap()
	for name, script := range shipped(t) {
		if data[name] != script {
			t.Errorf("%s is\n%s", name, data[name])
		}
	}
	if data["url"] != "https://cd.example.com" {
		t.Errorf("what Argo CD had is gone: %v", data)
	}
}
