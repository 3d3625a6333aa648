// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command demo shows Lapse at work on a real API server. In the first act somebody who
// may not touch a namespace asks for a role there, gets it, uses it, and loses it on
// time. In the second, access needs two people, and is taken away by one of them. They
// use the plugin, kubectl lapse. It exits 0 only if all of that was seen.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	namespace = "payments"
	request   = "accessrequest/debug-checkout"

	demoTimeout  = 10 * time.Minute
	grantTimeout = 10 * time.Second
	// lateTolerance is what may lie between the deadline and the first look that
	// finds the access gone: a kubectl has to start and ask.
	lateTolerance = 5 * time.Second
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithTimeout(ctx, demoTimeout)
	err := run(ctx, os.Stdout)
	stop()
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	root, err := operator.Root()
	if err != nil {
		return err
	}
	// kubectl finds its plugins on PATH.
	if err := os.Setenv("PATH", filepath.Join(root, "bin")+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return err
	}
	s := &stage{out: out, start: time.Now()}
	s.say("starting etcd, kube-apiserver and kube-controller-manager")
	if s.plane, err = controlplane.Start(ctx, controlplane.Options{ControllerManager: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.plane.Stop()) }()

	s.say("kubectl apply -k config/default: CRDs, RBAC, admission policies")
	if err := operator.Install(ctx, s.plane); err != nil {
		return err
	}
	s.say("starting the manager with a token of its own ServiceAccount, %s", operator.Username)
	log, err := os.Create(filepath.Join(os.TempDir(), "lapse-demo-manager.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	manager, err := operator.Start(ctx, s.plane, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manager.Stop()) }()

	s.say("a cluster admin applies config/samples: a namespace, two policies, and that the operator may bind what they offer")
	if err := operator.Apply(ctx, s.plane, s.plane.AdminConfig(), "-k", "config/samples"); err != nil {
		return err
	}
	if err := s.cast(); err != nil {
		return err
	}
	err = s.play(ctx)
	if err == nil {
		err = s.playApproval(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w\nthe manager's log is in %s", err, log.Name())
	}
	s.say("All of it was seen.")
	return os.Remove(log.Name())
}

// stage is what the acts share.
type stage struct {
	out   io.Writer
	start time.Time
	plane *controlplane.ControlPlane

	alice, bob, dave *rest.Config
}

// cast gives everybody a client certificate.
func (s *stage) cast() (err error) {
	for _, p := range []struct {
		config      **rest.Config
		name, group string
	}{{&s.alice, "alice", "oncall"}, {&s.bob, "bob", "sre-leads"}, {&s.dave, "dave", "security"}} {
		if *p.config, err = s.plane.User(p.name, p.group); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%6.2fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// play is the first act.
func (s *stage) play(ctx context.Context) error {
	if err := s.refused(ctx, "before asking"); err != nil {
		return err
	}
	if err := s.lapse(ctx, "alice", s.alice, "request", "edit", "--name", "debug-checkout", "--for", "20s",
		"--reason", "INC-4211: checkout returns 500", "--wait"); err != nil {
		return err
	}
	deadline, err := s.granted(ctx)
	if err != nil {
		return err
	}
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	if err := s.holdsUntil(ctx, deadline); err != nil {
		return err
	}
	if err := s.refused(ctx, "after the deadline"); err != nil {
		return err
	}
	return s.expired(ctx)
}

// refused shows that alice may not write.
func (s *stage) refused(ctx context.Context, when string) error {
	may, err := s.canI(ctx, "configmaps")
	if err != nil {
		return err
	}
	if may {
		return fmt.Errorf("%s, alice may create configmaps in %s", when, namespace)
	}
	s.say("alice$ kubectl auth can-i create configmaps -n %s: no", namespace)
	_, stderr, err := s.kubectl(ctx, "create", "configmap", "proof-"+strings.ReplaceAll(when, " ", "-"))
	if err == nil || !strings.Contains(stderr, "forbidden") {
		return fmt.Errorf("%s, a write of alice was not refused: %s", when, stderr)
	}
	s.say("alice$ kubectl create configmap: %s", strings.TrimSpace(stderr))
	return nil
}

// granted shows what the grant says and returns its end.
func (s *stage) granted(ctx context.Context) (time.Time, error) {
	ready, err := s.field(ctx, request, `{.status.conditions[?(@.type=="Ready")].status}/{.status.conditions[?(@.type=="Ready")].reason}`)
	if err != nil {
		return time.Time{}, err
	}
	if ready != "True/Granted" {
		return time.Time{}, fmt.Errorf("the request is Ready=%s, not True/Granted", ready)
	}
	expiresAt, err := s.field(ctx, request, "{.status.grant.expiresAt}")
	if err != nil {
		return time.Time{}, err
	}
	deadline, err := time.Parse(time.RFC3339, expiresAt)
	if err != nil {
		return time.Time{}, fmt.Errorf("the request has no expiry: %w", err)
	}
	s.say("the request is Ready=%s; access ends at %s, in %s", ready, expiresAt, time.Until(deadline).Round(time.Second))
	return deadline, nil
}

// mayWrite shows that alice may write, and does.
func (s *stage) mayWrite(ctx context.Context) error {
	may, err := s.canI(ctx, "configmaps")
	if err != nil {
		return err
	}
	if !may {
		return errors.New("although granted, alice may not create configmaps")
	}
	s.say("alice$ kubectl auth can-i create configmaps -n %s: yes", namespace)
	stdout, stderr, err := s.kubectl(ctx, "create", "configmap", "proof-granted")
	if err != nil {
		return fmt.Errorf("although granted, a write of alice failed: %s", stderr)
	}
	s.say("alice$ kubectl create configmap: %s", strings.TrimSpace(stdout))
	return nil
}

// holdsUntil asks until access is gone, and shows that it is neither early nor late.
func (s *stage) holdsUntil(ctx context.Context, deadline time.Time) error {
	for {
		asked := time.Now()
		may, err := s.canI(ctx, "configmaps")
		answered := time.Now()
		switch {
		case err != nil:
			return err
		case !may && answered.Before(deadline):
			return fmt.Errorf("access ended %s early", deadline.Sub(answered))
		case !may:
			s.say("access is gone, seen %s after the deadline", answered.Sub(deadline).Round(time.Millisecond))
			return nil
		case asked.After(deadline.Add(lateTolerance)):
			return fmt.Errorf("%s after the deadline alice still has access", asked.Sub(deadline))
		}
	}
}

// expired shows that the request is still there and says what became of it.
func (s *stage) expired(ctx context.Context) error {
	_, stderr, err := s.kubectl(ctx, "wait", `--for=jsonpath={.status.state}=Expired`, "--timeout="+grantTimeout.String(), request)
	if err != nil {
		return fmt.Errorf("the request does not say Expired: %s", stderr)
	}
	return s.lapse(ctx, "alice", s.alice, "why", "debug-checkout")
}

// lapse runs the plugin as somebody, and shows the command and what it printed.
func (s *stage) lapse(ctx context.Context, name string, user *rest.Config, args ...string) error {
	stdout, stderr, err := s.kubectlAs(ctx, user, append([]string{"lapse"}, args...)...)
	line := make([]string, 0, len(args))
	for _, arg := range args {
		if strings.ContainsAny(arg, " ") {
			arg = fmt.Sprintf("%q", arg)
		}
		line = append(line, arg)
	}
	s.say("%s$ kubectl lapse %s -n %s\n%s", name, strings.Join(line, " "), namespace, indent(stdout+stderr))
	return err
}

// canI asks whether alice may create a resource.
func (s *stage) canI(ctx context.Context, resource string) (bool, error) {
	stdout, stderr, err := s.kubectl(ctx, "auth", "can-i", "create", resource)
	switch strings.TrimSpace(stdout) {
	case "yes":
		return true, nil
	case "no":
		return false, nil // kubectl exits with 1 then
	default:
		return false, errors.Join(fmt.Errorf("kubectl auth can-i said neither yes nor no: %s", stderr), err)
	}
}

func (s *stage) field(ctx context.Context, request, path string) (string, error) {
	stdout, stderr, err := s.kubectl(ctx, "get", request, "-o", "jsonpath="+path)
	if err != nil {
		return "", fmt.Errorf("reading the request: %s", stderr)
	}
	return stdout, nil
}

func (s *stage) kubectl(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return s.kubectlAs(ctx, s.alice, args...)
}

// kubectlAs has -n at the end: kubectl looks for a plugin at the beginning.
func (s *stage) kubectlAs(ctx context.Context, user *rest.Config, args ...string) (stdout, stderr string, err error) {
	return s.plane.Kubectl(ctx, user, append(args, "-n", namespace)...)
}

func indent(table string) string {
	return "         " + strings.ReplaceAll(strings.TrimRight(table, "\n"), "\n", "\n         ")
}
