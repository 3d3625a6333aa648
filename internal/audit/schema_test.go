// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// published is the schema that receivers of records use.
func published(t *testing.T) *spec.Schema {
	t.Helper()
	data, err := os.ReadFile("../../docs/records.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema := &spec.Schema{}
	if err := json.Unmarshal(data, schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// oneOfEach are lines of a writer's life, with all that there is to say.
func oneOfEach(t *testing.T) []any {
	t.Helper()
	req, decisions := revoked()
	at := after(1)
	req.Spec.NotBefore, req.Spec.NotAfter = &at, &at
	req.Spec.Requester = &v1alpha1.Identity{
		Username: "alice", UID: "1", Groups: []string{"oncall"}, Extra: map[string]v1alpha1.ExtraValue{"example.com/tier": {"gold"}},
	}
	req.Status.Approvals = []v1alpha1.Approval{{Decision: "approve", Reviewer: "bob", Time: after(4)}}
	rules := []rbacv1.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"checkout"}},
		{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}},
	}
	req.Status.Grant.Role = policy.Role{UID: "uid-of-edit", Rules: rules}.Record()
	denial := decisions[0]
	denial.UID, denial.Name, denial.Spec.Verdict, denial.Spec.Comment = "uid-of-deny", "deny", v1alpha1.VerdictDeny, "enough"
	own := func(what Type, data Data) Record {
		return Record{
			SpecVersion: "1.0", ID: "manager-1/" + string(what), Source: "/clusters/1", Type: what, Time: asked,
			DataContentType: "application/json", Data: data,
		}
	}
	records := []Record{
		own(WriterBegan, Data{Began: &Began{Version: "v0.1.0", Predecessor: &Head{Writer: "manager-0", Sequence: 9, Hash: hashOf(nil)}}}),
		own(WriterBegan, Data{Began: &Began{Version: "v0.1.0"}}), own(GapBegan, Data{Gap: "lapse-requester is missing"}),
		own(GapEnded, Data{Gap: "lapse-requester is missing"}),
	}
	records = append(append(records, Of("/clusters/1", req, append(decisions, denial))...), Gone("/clusters/1", req, asked)...)
	req.Status.Grant.Role = &v1alpha1.GrantedRole{UID: "1", Digest: "2"} // its rules were too many
	records = append(records, Of("/clusters/1", req, nil)...)
	req.Status.Grant, req.Status.State = nil, v1alpha1.StateDenied
	records = append(records, Of("/clusters/1", req, nil)...)
	chain := NewChain("manager-1")
	records = append(records, records[len(records)-1].Withheld("refused: 403 Forbidden")...)
	records = append(records, own(WriterMissed, Data{Missed: 2}), own(WriterEnded, Data{}))
	out := make([]any, 0, len(records))
	for _, r := range records {
		line, err := chain.Append(r)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatal(err)
		}
		out = append(out, value)
	}
	return out
}

func TestEachRecordIsByTheSchema(t *testing.T) {
	schema, seen := published(t), map[any]bool{}
	for _, record := range oneOfEach(t) {
		seen[record.(map[string]any)["type"]] = true
		if err := validate.AgainstSchema(schema, record, strfmt.Default); err != nil {
			t.Errorf("%v in %s", err, text(t, record))
		}
		for path, object := range objectsIn("record", record) {
			object["unknown"] = 1
			if validate.AgainstSchema(schema, record, strfmt.Default) == nil {
				t.Errorf("%s may have a field that is not known", path)
			}
			delete(object, "unknown")
		}
	}
	for _, what := range schema.Properties["type"].Enum {
		if !seen[what] {
			t.Errorf("there is no record of type %s", what)
		}
	}
}

// objectsIn are all objects in a value, by their paths.
func objectsIn(path string, value any) map[string]map[string]any {
	found := map[string]map[string]any{}
	switch v := value.(type) {
	case map[string]any:
		found[path] = v
		for name, field := range v {
			maps.Copy(found, objectsIn(path+"."+name, field))
		}
	case []any:
		for i, item := range v {
			maps.Copy(found, objectsIn(fmt.Sprintf("%s[%d]", path, i), item))
		}
	}
	return found
}

func TestTheSchemaHasWhatARecordHas(t *testing.T) {
	schema := published(t)
	compareSchema(t, "record", reflect.TypeFor[Record](), schema)
	enum := schema.Properties["type"].Enum
	types := make([]string, 0, len(enum))
	for _, what := range enum {
		types = append(types, what.(string))
	}
	slices.Sort(types)
	if declared := declaredTypes(t); !slices.Equal(types, declared) {
		t.Errorf("types are %q, want %q", types, declared)
	}
}

// declaredTypes are the constants of type Type.
func declaredTypes(t *testing.T) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "record.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if c, ok := n.(*ast.ValueSpec); ok {
			if name, ok := c.Type.(*ast.Ident); ok && name.Name == "Type" {
				value, err := strconv.Unquote(c.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
		}
		return true
	})
	slices.Sort(values)
	return values
}

// compareSchema holds a part of the schema against the Go type that is written there.
func compareSchema(t *testing.T, path string, typ reflect.Type, schema *spec.Schema) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if schema.Description == "" && !strings.HasSuffix(path, "[]") {
		t.Errorf("%s has no description", path)
	}
	kind, format := "", ""
	switch {
	case typ == reflect.TypeFor[time.Time](), typ == reflect.TypeFor[metav1.Time]():
		kind, format = "string", "date-time"
	case typ == reflect.TypeFor[Rules]():
		typ, kind = reflect.TypeFor[[]rbacv1.PolicyRule](), "array"
	default:
		kind = map[string]string{
			"struct": "object", "map": "object", "string": "string", "int64": "integer", "slice": "array",
		}[typ.Kind().String()]
	}
	if !schema.Type.Contains(kind) || schema.Format != format {
		t.Errorf("%s is of type %v and format %q, want %s and %q", path, schema.Type, schema.Format, kind, format)
	}
	switch kind {
	case "array":
		compareSchema(t, path+"[]", typ.Elem(), schema.Items.Schema)
	case "object":
		compareObject(t, path, typ, schema)
	}
}

// compareObject does it for what has fields, or any keys.
func compareObject(t *testing.T, path string, typ reflect.Type, schema *spec.Schema) {
	t.Helper()
	if typ.Kind() == reflect.Struct {
		compareFields(t, path, typ, schema)
		return
	}
	if schema.AdditionalProperties == nil || schema.AdditionalProperties.Schema == nil {
		t.Fatalf("%s does not say what is there for a key", path)
	}
	compareSchema(t, path+"[]", typ.Elem(), schema.AdditionalProperties.Schema)
}

func compareFields(t *testing.T, path string, typ reflect.Type, schema *spec.Schema) {
	t.Helper()
	if more := schema.AdditionalProperties; more == nil || more.Allows {
		t.Errorf("%s may have fields that are not known", path)
	}
	known := map[string]bool{}
	for _, field := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			continue
		}
		known[name] = true
		property, there := schema.Properties[name]
		if !there {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		if !strings.Contains(options, "omitempty") && !slices.Contains(schema.Required, name) {
			t.Errorf("%s.%s is always there, and not required", path, name)
		}
		compareSchema(t, path+"."+name, field.Type, &property)
	}
	for name := range schema.Properties {
		if !known[name] {
			t.Errorf("%s.%s is in the schema, and in no record", path, name)
		}
	}
}
