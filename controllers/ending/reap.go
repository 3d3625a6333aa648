// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ending

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/internal/text"
)

// reapTimeout bounds a run of the reaper: it is shorter than the pause between two runs of
// the CronJob.
const reapTimeout = 4 * time.Minute

// Reap is the command "manager reap": it ends once what is past its end, and prints a
// line for each. The error says how many could not be ended.
func Reap(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("manager reap", flag.ContinueOnError)
	flags.SetOutput(out)
	ceiling := flags.Duration("max-duration", 24*time.Hour, "The operator's --max-duration: a RoleBinding without a readable end goes that long after its creation; 10s to 24h.")
	dryRun := flags.Bool("dry-run", false, "Delete nothing, and print what would be.")
	if helped, err := parse(flags, args); helped || err != nil {
		return err
	}
	if *ceiling < 10*time.Second || *ceiling > 24*time.Hour {
		return fmt.Errorf("--max-duration is %s, and must be between 10s and 24h", *ceiling)
	}
	c, err := reach()
	if err != nil {
		return err
	}
	reaper, err := NewReaper(c, clock.RealClock{}, *ceiling)
	if err != nil {
		return err
	}
	reaper.DryRun, reaper.Done = *dryRun, func(b reap.Binding) { fmt.Fprintln(out, reaped(b, *dryRun)) }
	ctx, cancel := context.WithTimeout(ctx, reapTimeout)
	defer cancel()
	due, err := reaper.Run(ctx)
	return errors.Join(sumUp(out, due), err)
}

// parse reads the flags of a command, and says whether it was asked for no more than them.
func parse(flags *flag.FlagSet, args []string) (helped bool, err error) {
	config.RegisterFlags(flags)
	if err = flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return true, nil
	}
	return false, err
}

// reach is where the API server is.
func reach() (*rest.Config, error) {
	c, err := config.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("no way to reach the API server: %w; run in a cluster, or with --kubeconfig", err)
	}
	return c, nil
}

// NewReaper goes by the API server's clock, measured with the given one.
func NewReaper(c *rest.Config, here clock.WithTickerAndDelayedExecution, ceiling time.Duration) (reap.Reaper, error) {
	live, now, err := timed(c, here)
	return reap.Reaper{RoleBindings: roleBindings{live}, Ceiling: ceiling, Now: now}, err
}

// timed is a client that knows only RBAC and its questions, and the API server's clock as its answers show it.
func timed(c *rest.Config, here clock.WithTickerAndDelayedExecution) (client.Client, func() time.Time, error) {
	now, c := servertime.New(here), rest.CopyConfig(c)
	c.Wrap(now.Wrap)
	scheme := runtime.NewScheme()
	if err := errors.Join(rbacv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme)); err != nil {
		return nil, nil, err
	}
	live, err := client.New(c, client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, fmt.Errorf("setting up a client: %w", err)
	}
	return live, now.Now, nil
}

// roleBindings are for a reaper.
type roleBindings struct{ live client.Client }

func (r roleBindings) List(ctx context.Context, limit int64, from string) (*rbacv1.RoleBindingList, error) {
	page := &rbacv1.RoleBindingList{}
	return page, r.live.List(ctx, page, client.Limit(limit), client.Continue(from))
}

func (r roleBindings) Delete(ctx context.Context, namespace, name string, uid types.UID) error {
	obj := &rbacv1.RoleBinding{}
	obj.Namespace, obj.Name = namespace, name
	// In the background: somebody may have deleted it in the foreground, and made something
	// that keeps it.
	return r.live.Delete(ctx, obj, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
}

// reaped is a line about what became of a binding.
func reaped(b reap.Binding, dryRun bool) string {
	verb, outcome := "ended", ""
	switch {
	case b.Err != nil:
		verb, outcome = "FAILED", ": "+b.Err.Error()
	case dryRun:
		verb = "would end"
	}
	return fmt.Sprintf("%s RoleBinding %s/%s, due at %s%s", verb, b.Namespace, b.Name, text.Time(b.Deadline), outcome)
}

func sumUp(out io.Writer, all []reap.Binding) error {
	failed := 0
	for _, b := range all {
		if b.Err != nil {
			failed++
		}
	}
	fmt.Fprintf(out, "%d past their end, %d of them failed\n", len(all), failed)
	if failed > 0 {
		return fmt.Errorf("%d of %d RoleBindings past their end could not be ended: somebody has access that should be over; see the lines above", failed, len(all))
	}
	return nil
}
