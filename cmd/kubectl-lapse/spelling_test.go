// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/config/crd"
)

func TestWhatThePluginRefusesIsWhatTheSchemaRefuses(t *testing.T) {
	plain, err := yaml.YAMLToJSON(crd.AccessRequests)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`!self\.matches\(r'([^']*)'\)`).FindSubmatch(plain) // the first one is the reason's
	if found == nil {
		t.Fatal("the schema has no such rule")
	}
	var rule string
	if err := json.Unmarshal([]byte(`"`+string(found[1])+`"`), &rule); err != nil {
		t.Fatal(err)
	}
	refused := regexp.MustCompile(rule)
	check := func(r rune) {
		c := string(r)
		for _, s := range []string{c, "a" + c + "b", " " + c + " ", "❤" + c, c + "\u200db", "a\u200c" + c} {
			if wrong := misspelt(s); (wrong != "") != refused.MatchString(s) {
				t.Errorf("%+q: the plugin says %q", s, wrong)
			}
		}
	}
	for _, span := range [][2]rune{{0, 0x3400}, {0xa000, 0xac00}, {0xf8f0, 0x10200}, {0x1f300, 0x1fb00}, {0xe0000, 0xe0200}} {
		for r := span[0]; r < span[1]; r++ {
			check(r)
		}
	}
}

func TestARefusalNamesTheCharacterAndItsPlace(t *testing.T) {
	p := newPlugin(genericiooptions.IOStreams{})
	request := &requestOptions{plugin: p, lasting: 3600e9, reason: "INC-1\u202e"}
	want := "--reason: character 6 is U+202E, which cannot be seen, or breaks the line; " +
		"reason must be one line of printable characters and not blank"
	if err := request.required(); err == nil || err.Error() != want {
		t.Errorf("request says %v", err)
	}
	approve := &decideOptions{plugin: p, verdict: v1alpha1.VerdictApprove, comment: "go\x1b[2J"}
	want = "nothing was decided: --comment: character 3 is U+001B, which cannot be seen, or breaks the line; " +
		"comment must be one line of printable characters"
	if err := approve.checkComment(); err == nil || err.Error() != want {
		t.Errorf("approve says %v", err)
	}
}

func TestAnEndNeverWaitsForHowItsReasonIsSpelt(t *testing.T) {
	for name, tc := range map[string]struct{ words, kept, said string }{
		"nothing wrong": {"the incident is over", "the incident is over", ""},
		"two lines": {
			"the incident\nis over\u202e", "the incident is over",
			"note: left out of what you wrote, since it cannot be seen or breaks the line: U+000A, U+202E\n",
		},
		"nothing to be seen": {"\u200b", "", "note: left out of what you wrote, since it cannot be seen or breaks the line: U+200B\n"},
		"much": {
			"\x01\x02\x03\x04\x05\x06\x07x", "x",
			"note: left out of what you wrote, since it cannot be seen or breaks the line: U+0001, U+0002, U+0003, U+0004, U+0005, 2 more\n",
		},
		"long": {
			strings.Repeat("ä", maxWords+1), strings.Repeat("ä", maxWords), "note: what you wrote has 1025 characters; the first 1024 are kept\n",
		},
	} {
		for _, verdict := range []v1alpha1.Verdict{v1alpha1.VerdictRevoke, v1alpha1.VerdictDeny} {
			var said bytes.Buffer
			o := &decideOptions{plugin: newPlugin(genericiooptions.IOStreams{ErrOut: &said}), verdict: verdict, comment: tc.words}
			if err := o.checkComment(); err != nil || o.comment != tc.kept || said.String() != tc.said {
				t.Errorf("%s, %s: %+q is kept, and it said %q (%v)", verdict, name, o.comment, said.String(), err)
			}
		}
	}
}

// strict is an API server that takes no comment at all, as one of another version might.
type strict struct{ decided []v1alpha1.AccessDecision }

func (s *strict) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodPost {
		req := waitingRequest()
		req.ResourceVersion = fmt.Sprint(len(s.decided))
		if len(s.decided) > 0 {
			req.Status.State = v1alpha1.StateRevoked
		}
		_ = json.NewEncoder(w).Encode(v1alpha1.AccessRequestList{TypeMeta: kindOf("AccessRequestList"), Items: []v1alpha1.AccessRequest{*req}})
		return
	}
	var d v1alpha1.AccessDecision
	_ = json.NewDecoder(r.Body).Decode(&d)
	if d.Spec.Comment == "" {
		s.decided = append(s.decided, d)
		_ = json.NewEncoder(w).Encode(d)
		return
	}
	refusal := apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("AccessDecision").GroupKind(), "x", field.ErrorList{
		field.Invalid(field.NewPath("spec", "comment"), d.Spec.Comment, "comment must be better"),
	})
	refusal.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(refusal.ErrStatus)
}

func TestAnEndIsSentWithoutACommentThatTheServerRefuses(t *testing.T) {
	for verdict, decisions := range map[v1alpha1.Verdict]int{v1alpha1.VerdictRevoke: 1, v1alpha1.VerdictDeny: 1, v1alpha1.VerdictApprove: 0} {
		server := &strict{}
		var said bytes.Buffer
		p := against(t, server.ServeHTTP)
		p.ErrOut = &said
		c, err := p.connect()
		if err != nil {
			t.Fatal(err)
		}
		err = p.decide(t.Context(), c, waitingRequest(), &v1alpha1.Identity{Username: "bob"}, verdict, "the change is off", newOutput("created"))
		if len(server.decided) != decisions || (err == nil) != (decisions == 1) {
			t.Errorf("%s: decided %+v (%v)", verdict, server.decided, err)
		}
		if told := strings.Contains(said.String(), "note: decided without what you wrote"); told != (decisions == 1) {
			t.Errorf("%s: said %q", verdict, said.String())
		}
	}
}
