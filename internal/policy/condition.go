// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// maxExpression bounds, in bytes, what is given to the CEL compiler. The schema
	// allows 4096 characters of up to 4 bytes.
	maxExpression = 4 * 4096
	// maxCompileError bounds, in bytes, what is said of an expression that does not
	// compile.
	maxCompileError = 512
	// conditionCost is what one condition may cost, in CEL's units: some thousandths of a
	// second.
	conditionCost = 5_000
	// judgementCost is what the conditions of all policies may cost for one request: some
	// thousandths of a second. Whoever may write one policy may write many.
	judgementCost = 10_000
	// clearlyTooMuch is an estimate that is refused: what is less may be estimated too high,
	// and is bounded when it is run.
	clearlyTooMuch = 20 * conditionCost
	// unknownCost is a cost that is made of what has no bound. It is bounded when it is run.
	unknownCost = 1 << 50
)

// condition is one condition of one policy.
type condition struct {
	*program
	// objection is what the requester reads when it is false.
	objection string
}

// program is one expression, compiled. It is immutable and may be shared by
// policies.
type program struct {
	cel cel.Program
	// problem is why the expression does not compile, and empty if it does.
	problem string
	// namesPolicy says that the outcome depends on the policy that asks.
	namesPolicy bool
	// most is what it may cost for a request of usual size, if that can be told.
	most uint64
}

// outcome is what an expression said of a request.
type outcome struct {
	holds   bool
	failure string // why it could not be told; holds is false then
	cost    uint64 // in CEL's units
}

func conditionOf(c v1alpha1.PolicyCondition, compile func(string) *program) condition {
	objection := text.Line(c.Message)
	if objection == "" {
		objection = "condition is false: " + text.Cut(text.Line(c.Expression), maxQuoted)
	}
	return condition{program: compile(c.Expression), objection: objection}
}

// checked is an expression that is a condition by its form, and otherwise what is wrong with
// it.
func checked(expression string) (env *cel.Env, ast *cel.Ast, problem string) {
	if len(expression) > maxExpression {
		return nil, nil, fmt.Sprintf("%d bytes are more than the %d that are allowed", len(expression), maxExpression)
	}
	env, err := celEnvironment()
	if err != nil {
		return nil, nil, text.Cut(text.Line(err.Error()), maxCompileError)
	}
	ast, issues := env.Compile(expression)
	switch {
	case issues.Err() != nil:
		return nil, nil, issuesText(issues)
	case !ast.OutputType().IsExactType(cel.BoolType):
		return nil, nil, "must be a bool, and is of type " + text.Cut(ast.OutputType().String(), maxQuoted)
	}
	if zone := unknownZone(ast.NativeRep()); zone != "" {
		return nil, nil, quote(zone) + " is no time zone; write one such as \"Europe/Berlin\" or \"+02:00\""
	}
	return env, ast, ""
}

// compileExpression never fails and never panics: what does not compile holds its
// problem.
func compileExpression(expression string) (p *program) {
	p = &program{}
	defer func() {
		if r := recover(); r != nil {
			p = &program{problem: text.Cut(text.Line(fmt.Sprintf("the compiler gave up: %v", r)), maxCompileError)}
		}
	}()
	env, ast, problem := checked(expression)
	if problem != "" {
		p.problem = problem
		return p
	}
	for _, ref := range ast.NativeRep().ReferenceMap() {
		p.namesPolicy = p.namesPolicy || ref.Name == policyVariable
	}
	cost, err := env.EstimateCost(ast, sizes)
	if err != nil {
		p.problem = text.Cut(text.Line(err.Error()), maxCompileError)
		return p
	}
	if cost.Max > clearlyTooMuch && cost.Max < unknownCost {
		p.problem = fmt.Sprintf("may cost %d in CEL's units for a request of usual size, and at most %d are allowed; compare fewer lists with each other", cost.Max, clearlyTooMuch)
		return p
	}
	p.most = cost.Max
	p.cel, err = env.Program(ast, cel.CostLimit(conditionCost), cel.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return &program{problem: text.Cut(text.Line(err.Error()), maxCompileError)}
	}
	return p
}

// issuesText puts the compiler's findings on one line.
func issuesText(issues *cel.Issues) string {
	errs := issues.Errors()
	texts := make([]string, 0, len(errs))
	for _, e := range errs {
		texts = append(texts, fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, text.Line(e.Message)))
	}
	return text.Cut(strings.Join(texts, "; "), maxCompileError)
}

// run asks the expression. Whatever goes wrong, the outcome does not hold.
func (p *program) run(v *variables) (out outcome) {
	defer func() {
		if r := recover(); r != nil {
			out = outcome{failure: text.Cut(text.Line(fmt.Sprintf("it gave up: %v", r)), maxQuoted), cost: conditionCost}
		}
	}()
	if p.cel == nil {
		return outcome{failure: "it does not compile"}
	}
	value, details, err := p.cel.Eval(v)
	out.cost = conditionCost // unless it is known better
	if cost := details.ActualCost(); cost != nil {
		out.cost = *cost
	}
	switch {
	case err != nil:
		out.failure = failureText(err)
	case value == nil || value.Type() != types.BoolType:
		out.failure = "it is no bool"
	default:
		out.holds = value == types.True
	}
	return out
}

func failureText(err error) string {
	if _, cancelled := errors.AsType[interpreter.EvalCancelledError](err); cancelled {
		return fmt.Sprintf("it costs more than %d", conditionCost)
	}
	return text.Cut(text.Line(err.Error()), maxQuoted)
}
