// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// stillWaits is the plugin's exit code for a request that is not granted yet.
	stillWaits = 3
	approved   = "accessrequest/rotate-accounts"
	// wanted is what only the role of the second act allows.
	wanted = "rolebindings"
	// revocationTolerance is what a revocation may take to be seen by a kubectl.
	revocationTolerance = time.Second
)

// playApproval is the second act.
func (s *stage) playApproval(ctx context.Context) error {
	asked := s.lapse(ctx, "alice", s.alice, "request", "admin", "--name", "rotate-accounts", "--for", "1h",
		"--reason", "CHG-77: rotate the service accounts of checkout")
	var exit *exec.ExitError
	if !errors.As(asked, &exit) || exit.ExitCode() != stillWaits {
		return fmt.Errorf("the request is to wait, with exit code %d, and ended with: %w", stillWaits, asked)
	}
	if err := s.waits(ctx, `waits for 1 of Group "sre-leads", and 1 of Group "security"`); err != nil {
		return err
	}
	if err := s.lapse(ctx, "bob", s.bob, "approve", "rotate-accounts", "--comment", "I watch the dashboards"); err != nil {
		return err
	}
	if err := s.waits(ctx, `waits for 1 of Group "security"; approved by "bob"`); err != nil {
		return err
	}
	if err := s.cheats(ctx); err != nil {
		return err
	}
	if err := s.lapse(ctx, "dave", s.dave, "approve", "rotate-accounts"); err != nil {
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

// forges tries to decide in dave's name, which takes more than the plugin.
func (s *stage) forges(ctx context.Context) error {
	uid, err := s.field(ctx, approved, "{.metadata.uid}")
	if err != nil {
		return err
	}
	manifest := fmt.Sprintf(`{"apiVersion": "lapse.dev/v1alpha1", "kind": "AccessDecision", "metadata": {"generateName": "demo-", "namespace": %q},
  "spec": {"requestRef": {"name": "rotate-accounts", "uid": %q}, "verdict": "Approve", "reviewer": {"username": "dave", "groups": ["security"]}}}`, namespace, uid)
	file, err := os.CreateTemp("", "lapse-demo-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(manifest); err != nil {
		return err
	}
	_, stderr, err := s.kubectl(ctx, "create", "-f", file.Name())
	if err == nil {
		return errors.New("alice decided as dave")
	}
	s.say("alice$ kubectl create -f decision-as-dave.json: %s", strings.TrimSpace(stderr))
	return nil
}

// cheats shows that alice can neither approve for herself nor as somebody else.
func (s *stage) cheats(ctx context.Context) error {
	if err := s.lapse(ctx, "alice", s.alice, "approve", "rotate-accounts"); err == nil {
		return errors.New("alice was let approve what she asks for")
	}
	if err := s.waits(ctx, `waits for 1 of Group "security"; approved by "bob"`); err != nil {
		return err
	}
	return s.forges(ctx)
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
	start := time.Now()
	if err := s.lapse(ctx, "bob", s.bob, "revoke", "rotate-accounts", "--reason", "seen enough"); err != nil {
		return err
	}
	for {
		may, err := s.canI(ctx, wanted)
		if err != nil {
			return err
		}
		took := time.Since(start)
		if !may {
			s.say("access is gone, seen %s after bob typed that", took.Round(time.Millisecond))
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
	return s.lapse(ctx, "alice", s.alice, "why", "rotate-accounts")
}
