// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

func TestGrantSubject(t *testing.T) {
	user, group, account := builders.User, builders.Group, builders.ServiceAccount
	cannot := " cannot be granted anything: "
	system := cannot + "users and groups that begin with system: belong to Kubernetes"
	noAccount := cannot + "that is not the name of a ServiceAccount"
	subject := func(s v1alpha1.Subject) *v1alpha1.Subject { return &s }
	for name, tc := range map[string]struct {
		requester string
		subject   *v1alpha1.Subject
		want      v1alpha1.Subject
		err       string
	}{
		"the requester, by default":            {requester: "alice", want: user("alice")},
		"a requester that is a ServiceAccount": {requester: "system:serviceaccount:ci:bot", want: account("ci", "bot")},
		"a ServiceAccount with dots":           {requester: "system:serviceaccount:ci:bot.v2", want: account("ci", "bot.v2")},
		"a name that only looks like one":      {requester: "serviceaccount:ci:bot", want: user("serviceaccount:ci:bot")},
		"any bytes of a name are kept":         {requester: "https://idp#Älice ", want: user("https://idp#Älice ")},
		"a longest name is kept":               {requester: strings.Repeat("x", 1024), want: user(strings.Repeat("x", 1024))},
		"a User":                               {requester: "alice", subject: subject(user("bob")), want: user("bob")},
		"a Group":                              {requester: "alice", subject: subject(group("leads")), want: group("leads")},
		"a ServiceAccount": {
			requester: "alice", subject: subject(account("ci", "bot")), want: account("ci", "bot"),
		},
		"a User that is a ServiceAccount": {
			requester: "alice", subject: subject(user("system:serviceaccount:ci:bot")), want: account("ci", "bot"),
		},
		"no requester": {err: "requester is missing, so it is not known who asks"},
		"no requester, but a subject": {
			subject: subject(user("bob")), err: "requester is missing, so it is not known who asks",
		},
		"a requester of Kubernetes":                  {requester: "system:admin", err: `requester User "system:admin"` + system},
		"a requester that is nothing but the prefix": {requester: "system:", err: `requester User "system:"` + system},
		"an anonymous requester":                     {requester: "system:anonymous", err: `requester User "system:anonymous"` + system},
		"a ServiceAccount without a name": {
			requester: "system:serviceaccount:ci:", err: `requester ServiceAccount "ci/"` + noAccount,
		},
		"a ServiceAccount without a namespace": {
			requester: "system:serviceaccount::bot", err: `requester ServiceAccount "/bot"` + noAccount,
		},
		"a ServiceAccount without either": {
			requester: "system:serviceaccount:", err: `requester ServiceAccount "/"` + noAccount,
		},
		"a ServiceAccount with a colon too many": {
			requester: "system:serviceaccount:ci:bot:x", err: `requester ServiceAccount "ci/bot:x"` + noAccount,
		},
		"a ServiceAccount in capitals": {
			requester: "system:serviceaccount:ci:Bot", err: `requester ServiceAccount "ci/Bot"` + noAccount,
		},
		"a ServiceAccount with a slash": {
			requester: "system:serviceaccount:ci:a/b", err: `requester ServiceAccount "ci/a/b"` + noAccount,
		},
		"a ServiceAccount in a namespace with a dot": {
			requester: "system:serviceaccount:c.i:bot", err: `requester ServiceAccount "c.i/bot"` + noAccount,
		},
		"ServiceAccounts as a group": {
			requester: "alice", subject: subject(group("system:serviceaccounts:ci")), err: `subject Group "system:serviceaccounts:ci"` + system,
		},
		"a ServiceAccount's name as a Group": {
			requester: "alice", subject: subject(group("system:serviceaccount:ci:bot")),
			err: `subject Group "system:serviceaccount:ci:bot"` + system,
		},
		"the group of admins": {
			requester: "alice", subject: subject(group("system:masters")), err: `subject Group "system:masters"` + system,
		},
		"an empty name": {
			requester: "alice", subject: subject(user("")), err: `subject User ""` + cannot + "the name is empty",
		},
		"a User in a namespace": {
			requester: "alice", subject: &v1alpha1.Subject{Kind: "User", Name: "bob", Namespace: "ci"},
			err: `subject User "bob"` + cannot + "only a ServiceAccount has a namespace",
		},
		"a ServiceAccount's name as User, with a namespace": {
			requester: "alice", subject: &v1alpha1.Subject{Kind: "User", Name: "system:serviceaccount:ci:bot", Namespace: "ci"},
			err: `subject User "system:serviceaccount:ci:bot"` + cannot + "only a ServiceAccount has a namespace",
		},
		"an empty kind": {
			requester: "alice", subject: &v1alpha1.Subject{Name: "bob"},
			err: `subject "bob"` + cannot + "kind must be User, Group or ServiceAccount",
		},
		"another kind": {
			requester: "alice", subject: &v1alpha1.Subject{Kind: "user", Name: "bob"},
			err: `subject "user" "bob"` + cannot + "kind must be User, Group or ServiceAccount",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := &v1alpha1.AccessRequestSpec{Subject: tc.subject}
			if tc.requester != "" {
				spec.Requester = &v1alpha1.Identity{Username: tc.requester}
			}
			got, err := GrantSubject(spec)
			if got != tc.want {
				t.Errorf("subject = %+v, want %+v", got, tc.want)
			}
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != tc.err {
				t.Errorf("error = %q, want %q", message, tc.err)
			}
		})
	}
	for name, spec := range map[string]*v1alpha1.AccessRequestSpec{"nil": nil, "an empty name": {Requester: &v1alpha1.Identity{}}} {
		if _, err := GrantSubject(spec); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
