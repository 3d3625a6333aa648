// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/util/sets"
)

// inZone are the functions of a timestamp that take a time zone.
var inZone = sets.New("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours",
	"getMilliseconds", "getMinutes", "getMonth", "getSeconds")

// unknownZone is the first time zone of an expression that does not exist: what asks for it
// fails each time. Empty if there is none. What is worked out is not looked at.
func unknownZone(expression *ast.AST) (unknown string) {
	ast.PreOrderVisit(expression.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if unknown != "" || e.Kind() != ast.CallKind || !inZone.Has(e.AsCall().FunctionName()) || len(e.AsCall().Args()) != 1 {
			return
		}
		arg := e.AsCall().Args()[0]
		if arg.Kind() != ast.LiteralKind {
			return
		}
		if zone, ok := arg.AsLiteral().(types.String); ok && !isZone(string(zone)) {
			unknown = string(zone)
		}
	}))
	return unknown
}

// isZone asks CEL, which also takes a distance from UTC, such as -08:00.
func isZone(zone string) bool {
	return !types.IsError(types.Timestamp{}.Receive("getHours", "", []ref.Val{types.String(zone)}))
}
