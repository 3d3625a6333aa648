// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // as main.go does

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// full is a request with everything set.
func full() Input {
	req := ask().To(builders.ServiceAccount("ci", "bot")).NotBefore(noon.Add(time.Hour)).NotAfter(noon.Add(5 * time.Hour)).
		UnderPolicy("p").Because("INC-4211: checkout returns 500").Build()
	req.UID, req.CreationTimestamp = "uid-1", metav1.Time{Time: noon.Add(-time.Minute)}
	req.Labels, req.Annotations = map[string]string{"app": "shop"}, map[string]string{"ticket": "4211"}
	req.Spec.Requester.UID = "uid-alice"
	req.Spec.Requester.Extra = map[string]v1alpha1.ExtraValue{"example.com/tier": {"gold", "eu"}, "example.com/none": {}}
	in := inputOf(req)
	in.Namespace.Annotations = map[string]string{"owner": "alice"}
	return in
}

func TestConditionSees(t *testing.T) {
	bare := inputOf(ask().Lasting(0).Build())
	bare.Namespace = builders.Namespace("payments")
	for expression, in := range map[string]Input{
		"request.metadata.name == 'debug' && request.metadata.namespace == 'payments' && request.metadata.uid == 'uid-1'": full(),
		"request.metadata.labels == {'app': 'shop'} && request.metadata.annotations['ticket'] == '4211'":                  full(),
		"request.metadata.creationTimestamp == timestamp('2026-12-01T11:59:00Z')":                                         full(),
		"request.spec.roleRef.kind == 'ClusterRole' && request.spec.roleRef.name == 'view'":                               full(),
		"request.spec.subject.kind == 'ServiceAccount' && request.spec.subject.namespace == 'ci'":                         full(),
		"request.spec.subject.name == 'bot' && request.spec.policyName == 'p'":                                            full(),
		"request.spec.duration == duration('1h') && request.spec.duration < duration('61m')":                              full(),
		"request.spec.notAfter - request.spec.notBefore == duration('4h')":                                                full(),
		"request.spec.reason.matches('^INC-[0-9]+') && !request.spec.reason.contains('CHG')":                              full(),
		"request.spec.requester.username == 'alice' && request.spec.requester.uid == 'uid-alice'":                         full(),
		"'oncall' in request.spec.requester.groups && size(request.spec.requester.groups) == 2":                           full(),
		"request.spec.requester.groups.exists(g, g == 'oncall')":                                                          full(),
		"'gold' in request.spec.requester.extra['example.com/tier'] && size(request.spec.requester.extra) == 2":           full(),
		"!('contractor' in request.spec.requester.extra['example.com/none'])":                                             full(),
		"has(request.spec.requester.extra) && !('example.com/suspended' in request.spec.requester.extra)":                 full(),
		"request.spec.requester.extra.exists(k, k.startsWith('example.com/') && 'eu' in request.spec.requester.extra[k])": full(),
		"policy.name == 'p'": full(),
		"namespaceObject.metadata.name == 'payments' && namespaceObject.metadata.labels['team'] == 'payments'": full(),
		"namespaceObject.metadata.annotations['owner'] == request.spec.requester.username":                     full(),
		"now == timestamp('2026-12-01T12:00:00Z') && now.getHours() == 12":                                     full(),
		"now.getHours('Europe/Berlin') == 13 && now.getDayOfWeek('Europe/Berlin') == 2":                        full(),
		"request.spec.subject == request.spec.subject && request.spec == request.spec":                         full(),

		"!has(request.spec.subject) && !has(request.spec.duration) && !has(request.spec.notBefore)":        bare,
		"!has(request.spec.notAfter) && !has(request.spec.policyName) && !has(request.spec.requester.uid)": bare,
		"!has(request.metadata.creationTimestamp) && !has(request.metadata.uid)":                           bare,
		"!('team' in namespaceObject.metadata.labels) && !('app' in request.metadata.labels)":              bare,
		"request.spec.?subject.?name.orValue('nobody') == 'nobody'":                                        bare,
		"!has(request.spec.duration) || request.spec.duration <= duration('1m')":                           bare,
		"request.spec.requester.?extra[?'example.com/tier'].orValue([]) == []":                             bare,

		// A block of YAML ends in a newline.
		`request.spec.reason.matches(r'^INC-1\n?$') && !request.spec.reason.matches('^INC-1$')`: inputOf(ask().Because("INC-1\n").Build()),

		// Functions of Kubernetes.
		"quantity('1Gi').isGreaterThan(quantity('1Mi')) && ip('10.0.0.1').family() == 4 && url('https://a/b').getHost() == 'a'": full(),
		"['a', 'b'].indexOf('b') == 1 && 'INC-4211'.find('[0-9]+') == '4211' && 'a,b'.split(',').join('-') == 'a-b'":            full(),
	} {
		d, err := Evaluate(in, compileAll(offer("p").To(builders.ServiceAccount("ci", "bot")).If(expression, "")))
		if err != nil || d.Verdict != Allowed {
			t.Errorf("%s: %s, %v", expression, d.Message(), err)
		}
	}
}

func TestConditionThatDoesNotCompileIsAProblem(t *testing.T) {
	for expression, want := range map[string]string{
		"request.spec.raeson == ''":           "conditions[0]: 1:13: undefined field 'raeson'",
		"request.spec.subject.username == ''": "conditions[0]: 1:21: undefined field 'username'",
		"namespaceObject.spec == 1":           "conditions[0]: 1:16: undefined field 'spec'",
		"request.status.state == 'Active'":    "conditions[0]: 1:8: undefined field 'status'",
		"policy.spec == 1":                    "conditions[0]: 1:7: undefined field 'spec'",
		"request.spec.reason":                 "conditions[0]: must be a bool, and is of type string",
		"dyn(true)":                           "conditions[0]: must be a bool, and is of type dyn",
		"request.spec.duration == '1h'": "conditions[0]: 1:23: found no matching overload for '_==_' " +
			"applied to '(duration, string)'",
		"authorizer.path('/').check('get')":           "conditions[0]: 1:1: undeclared reference to 'authorizer' (in container '')",
		"request.spec.reason.matches('(')":            "conditions[0]: 1:29: invalid matches argument",
		"duration('nonsense') == duration('1h')":      "conditions[0]: 1:10: invalid duration argument",
		"true\n&& fals":                               "conditions[0]: 2:4: undeclared reference to 'fals' (in container '')",
		strings.Repeat(" ", maxExpression-3) + "true": "conditions[0]: 16385 bytes are more than the 16384 that are allowed",
	} {
		p := stored(offer("p").If(expression, "").If("true", ""))
		c := Compile(p)
		problems, err := c.Problems(existing("view"))
		if err != nil || !reflect.DeepEqual(problems, []Problem{{v1alpha1.ReasonInvalidExpression, want}}) {
			t.Errorf("%.40q: problems = %q, %v, want %q", expression, problems, err, want)
		}
		d, err := Evaluate(inputOf(ask().Build()), []*Compiled{c})
		if err != nil || d.Verdict != Denied || !slices.Equal(d.Denials[0].Objections, []string{"it is not in force: " + want}) {
			t.Errorf("%.40q: verdict = %s, %v, %q", expression, d.Verdict, err, d.Denials)
		}
	}
	for name, expression := range map[string]string{
		"an empty one": "", "one nested deeply": strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000),
		"one with a NUL": "\x00", "one that is no UTF-8": "\xff\xfe", "a long chain": "true" + strings.Repeat("&&x", 3000),
	} {
		c := Compile(stored(offer("p").If(expression, "")))
		if len(c.problems) != 1 || len(c.problems[0].Message) > maxProblem {
			t.Errorf("%s: problems = %q", name, c.problems)
		}
	}
	if c := Compile(stored(offer("p").If(strings.Repeat(" ", maxExpression-4)+"true", ""))); len(c.problems) > 0 {
		t.Errorf("at the limit: %q", c.problems)
	}
}

func TestConditionThatFailsIsFalse(t *testing.T) {
	// What it costs depends on the request: a usual one is in fewer groups.
	groups := make([]string, 1024)
	for i := range groups {
		groups[i] = fmt.Sprint("team-", i)
	}
	costly := "request.spec.requester.groups.all(g, request.spec.requester.groups.all(h, g != '' && h != ''))"
	for name, tc := range map[string]struct{ expression, message, want string }{
		"false, with a message":    {"false", "not now", "not now"},
		"false, without a message": {"1 > 2", "", "condition is false: 1 > 2"},
		"several lines become one": {"1 > 2\n  || '\u202e' == ''", "", "condition is false: 1 > 2 || '\ufffd' == ''"},
		"a long one is cut":        {"'" + strings.Repeat("x", 600) + "' == ''", "", "condition is false: '" + strings.Repeat("x", 252) + "…"},
		"a field that is absent": {
			"request.spec.subject.name == 'bob'", "for bob only", "for bob only (the condition failed: no such key: subject)",
		},
		"a label that is absent": {
			"namespaceObject.metadata.labels['tier'] == 'dev'", "",
			"condition is false: namespaceObject.metadata.labels['tier'] == 'dev' (the condition failed: no such key: tier)",
		},
		"absent, in a negation": {
			"!(request.spec.subject.name == 'bob')", "not bob", "not bob (the condition failed: no such key: subject)",
		},
		"extra that is left out": {
			"'gold' in request.spec.requester.extra['tier']", "for gold only", "for gold only (the condition failed: no such key: extra)",
		},
		"extra that is left out, in a negation": {
			"!('suspended' in request.spec.requester.extra)", "not you", "not you (the condition failed: no such key: extra)",
		},
		"a division by zero": {
			"1 / (size(request.spec.reason) - size(request.spec.reason)) == 0", "x", "x (the condition failed: division by zero)",
		},
		"a key that the request gives, which is quoted": {
			"{'INC': true}[request.spec.reason]", "x", "x (the condition failed: no such key: INC-1: a test)",
		},
		"a time zone that is unknown": {
			"now.getHours('Europe/' + request.spec.roleRef.name) > 0", "x", "x (the condition failed: unknown time zone Europe/view)",
		},
		"one that costs too much": {costly, "x", "x (the condition failed: it costs more than 5000)"},
	} {
		t.Run(name, func(t *testing.T) {
			d := judged(t, inputOf(ask().By("alice", groups...).Build()), offer("p").If("true", "").If(tc.expression, tc.message))
			if d.Verdict != Denied || !slices.Equal(d.Denials[0].Objections, []string{tc.want}) {
				t.Errorf("verdict = %s, %q, want %q", d.Verdict, d.Denials, tc.want)
			}
		})
	}
	if out := (&program{}).run(&variables{}); out.holds || out.failure != "it does not compile" {
		t.Errorf("a program that was not compiled holds: %+v", out)
	}
}

// dear costs CEL about 4 000, which counts lengths, and is over at the first letter.
var dear = "!request.spec.reason.matches('^" + strings.Repeat("z", 150) + "')"

func TestAConditionThatCostsTooMuchByItsTextPutsNoPolicyInForce(t *testing.T) {
	list := "[" + strings.Repeat("1,", 9) + "1]"
	nested := fmt.Sprintf("%[1]s.all(a, %[1]s.all(b, %[1]s.all(c, %[1]s.all(d, %[1]s.all(e, a + b + c + d + e > 0)))))", list)
	c := Compile(stored(offer("p").If(nested, "")))
	problems, err := c.Problems(existing("view"))
	want := "for a request of usual size, and at most 100000 are allowed"
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
		t.Errorf("problems = %q, %v", problems, err)
	}
}

func TestConditionsOfAllPoliciesTogetherHaveABudget(t *testing.T) {
	in := inputOf(ask().Because(strings.Repeat("y", 1024)).Build())
	cost := compileExpression(dear + " && 1 == 1").run(variablesOf(in)).cost
	if cost < 2_000 || cost > conditionCost {
		t.Fatalf("the expression is not what the test needs: %d", cost)
	}
	within := int(judgementCost/cost) + 1 // the last one may begin
	policies := make([]*Compiled, 0, within)
	policy := func(i int, holds string) *Compiled {
		return Compile(stored(offer(fmt.Sprintf("p%03d", i)).If(fmt.Sprintf("%s && %d == %d%s", dear, i, i, holds), "no")))
	}
	for i := range within {
		policies = append(policies, policy(i, " && false"))
	}
	d, err := Evaluate(in, policies)
	if err != nil || strings.Contains(d.Message(), "together cost") {
		t.Errorf("%d: %s, %v", within, d.Message(), err)
	}
	d, err = Evaluate(in, append(policies, policy(within, "")))
	want := []string{"it was not asked: the conditions of all policies together cost more than 10000; name one policy in policyName"}
	if err != nil || d.Verdict != TooCostly ||
		!slices.ContainsFunc(d.Denials, func(denial Denial) bool { return slices.Equal(denial.Objections, want) }) {
		t.Errorf("one more: %s, %v", d.Verdict, err)
	}
}

func TestDearPoliciesKeepNoCheapOneFromBeingAsked(t *testing.T) {
	in := inputOf(ask().Because(strings.Repeat("y", 1024)).Build())
	policies := make([]*Compiled, 0, 41)
	for i := range 40 {
		policies = append(policies, Compile(stored(offer(fmt.Sprintf("a%03d", i)).If(fmt.Sprintf("%s && %d != %d", dear, i, i), "no"))))
	}
	policies = append(policies, Compile(stored(offer("z").If("request.spec.reason.size() > 3 && 'ops' != policy.name", ""))))
	d, err := Evaluate(in, policies)
	if err != nil || d.Verdict != Allowed || d.Policy.Name != "z" {
		t.Errorf("verdict = %s, %v: %s", d.Verdict, err, d.Message())
	}
}

func TestConditionsThatNameThePolicyAreAskedForEachPolicy(t *testing.T) {
	cache := NewCache(8)
	for _, expression := range []string{"policy.name == 'b'", "[policy].exists(p, p.name == 'b')"} {
		compiled := []*Compiled{cache.Compiled(stored(offer("a").If(expression, ""))), cache.Compiled(stored(offer("b").If(expression, "")))}
		if compiled[0].conditions[0].program != compiled[1].conditions[0].program {
			t.Fatal("the policies do not share a program, so the test shows nothing")
		}
		d, err := Evaluate(inputOf(ask().Build()), compiled)
		if err != nil || d.Verdict != Allowed || d.Policy.Name != "b" {
			t.Errorf("%s: verdict = %s, %v: %s", expression, d.Verdict, err, d.Message())
		}
		cache = NewCache(8) // the names of the policies are the same
	}
}

func TestConditionCannotChangeWhatOthersSee(t *testing.T) {
	in := full()
	before := in.Request.DeepCopyObject()
	judged(t, in, offer("p").To(builders.ServiceAccount("ci", "bot")).
		If("request.spec.requester.groups.map(g, g + 'x').size() > 0 && request.metadata.labels.all(k, k != '')", ""))
	if !reflect.DeepEqual(in.Request, before) {
		t.Error("the request was changed")
	}
}
