// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/test/operator"
)

const (
	approved         = "accessrequest/rotate-accounts"
	approvedManifest = "config/samples/lapse_v1alpha1_accessrequest_approved.yaml"
	// wanted is what only the role of the second act allows.
	wanted = "rolebindings"
	// revocationTolerance is what a revocation may take to be seen by a kubectl.
	revocationTolerance = time.Second
)

// playApproval is the second act.
func (s *stage) playApproval(ctx context.Context) error {
	s.say("alice$ kubectl apply -f %s", approvedManifest)
	if err := operator.Apply(ctx, s.plane, s.alice, "-f", approvedManifest); err != nil {
		return err
	}
	if err := s.waits(ctx, `waits for 1 of Group "sre-leads", and 1 of Group "security"`); err != nil {
		return err
	}
	if err := s.decides(ctx, "bob", s.bob, "Approve", ""); err != nil {
		return err
	}
	if err := s.waits(ctx, `waits for 1 of Group "security"; approved by "bob"`); err != nil {
		return err
	}
	if err := s.cheats(ctx); err != nil {
		return err
	}
	if err := s.decides(ctx, "dave", s.dave, "Approve", ""); err != nil {
		return err
	}
	if err := s.holds(ctx); err != nil {
		return err
	}
	return s.revoked(ctx)
}

// waits shows for whom the request waits, and that alice has no access.
func (s *stage) waits(ctx context.Context, message string) error {
	_, stderr, err := s.kubectl(ctx, "wait", `--for=jsonpath={.status.state}=Pending`, "--timeout="+grantTimeout.String(), approved)
	if err != nil {
		return fmt.Errorf("the request does not wait: %s", stderr)
	}
	var got string
	for until := time.Now().Add(grantTimeout); !strings.HasPrefix(got, message); {
		if got, err = s.field(ctx, approved, `{.status.conditions[?(@.type=="Ready")].message}`); err != nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("the request says %q, not %q", got, message)
		}
	}
	s.say("the request %s", got)
	may, err := s.canI(ctx, wanted)
	if err != nil {
		return err
	}
	if may {
		return errors.New("alice has access that was not approved")
	}
	s.say("alice$ kubectl auth can-i create %s -n %s: no", wanted, namespace)
	return nil
}

// decides creates an AccessDecision, under somebody else's name if one is given.
func (s *stage) decides(ctx context.Context, name string, user *rest.Config, verdict, reviewer string) error {
	uid, err := s.field(ctx, approved, "{.metadata.uid}")
	if err != nil {
		return err
	}
	manifest := fmt.Sprintf(`{"apiVersion": "lapse.dev/v1alpha1", "kind": "AccessDecision", "metadata": {"generateName": "demo-", "namespace": %q},
  "spec": {"requestRef": {"name": "rotate-accounts", "uid": %q}, "verdict": %q, "comment": "seen in the demo"%s}}`, namespace, uid, verdict, reviewer)
	file, err := os.CreateTemp("", "lapse-demo-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(manifest); err != nil {
		return err
	}
	stdout, stderr, err := s.kubectlAs(ctx, user, "create", "-f", file.Name())
	if err != nil {
		return errors.New(strings.TrimSpace(stderr))
	}
	s.say("%s$ kubectl create -f decision.json (verdict %s): %s", name, verdict, strings.TrimSpace(stdout))
	return nil
}

// cheats shows that alice can neither approve for herself nor as somebody else.
func (s *stage) cheats(ctx context.Context) error {
	if err := s.decides(ctx, "alice", s.alice, "Approve", ""); err != nil {
		return err
	}
	if err := s.waits(ctx, `waits for 1 of Group "security"; approved by "bob"`); err != nil {
		return err
	}
	err := s.decides(ctx, "alice", s.alice, "Approve", `, "reviewer": {"username": "dave", "groups": ["security"]}`)
	if err == nil {
		return errors.New("alice decided as dave")
	}
	s.say("alice$ kubectl create -f decision-as-dave.json: %v", err)
	return nil
}

// holds shows that two approvals give access.
func (s *stage) holds(ctx context.Context) error {
	_, stderr, err := s.kubectl(ctx, "wait", "--for=condition=Granted", "--timeout="+grantTimeout.String(), approved)
	if err != nil {
		return fmt.Errorf("the approved request was not granted: %s", stderr)
	}
	may, err := s.canI(ctx, wanted)
	if err != nil {
		return err
	}
	if !may {
		return errors.New("although approved by two, alice has no access")
	}
	s.say("alice$ kubectl auth can-i create %s -n %s: yes", wanted, namespace)
	return nil
}

// revoked shows that one of the approvers can take the access away at once.
func (s *stage) revoked(ctx context.Context) error {
	if err := s.decides(ctx, "bob", s.bob, "Revoke", ""); err != nil {
		return err
	}
	start := time.Now()
	for {
		may, err := s.canI(ctx, wanted)
		if err != nil {
			return err
		}
		took := time.Since(start)
		if !may {
			s.say("access is gone, seen %s after the revocation", took.Round(time.Millisecond))
			break
		}
		if took > revocationTolerance {
			return fmt.Errorf("%s after the revocation alice still has access", took)
		}
	}
	_, stderr, err := s.kubectl(ctx, "wait", `--for=jsonpath={.status.state}=Revoked`, "--timeout="+grantTimeout.String(), approved)
	if err != nil {
		return fmt.Errorf("the request does not say Revoked: %s", stderr)
	}
	table, stderr, err := s.kubectl(ctx, "get", approved, "-o", "wide")
	if err != nil {
		return fmt.Errorf("the request is gone: %s", stderr)
	}
	s.say("alice$ kubectl get %s -o wide\n%s", approved, indent(table))
	return nil
}
