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

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/reap"
)

const (
	// drainTimeout bounds "manager drain". Helm gives its hooks 5 minutes by default.
	drainTimeout = 4 * time.Minute
	// stopWithin is how long the right to make RoleBindings is given to be gone.
	stopWithin = 30 * time.Second
	// recordedIn is how long the operator is left at the least to record what ended, before it goes.
	recordedIn = 5 * time.Second
	// recordedEach is how much longer it is left for each end: a record takes some milliseconds.
	recordedEach = 10 * time.Millisecond
	// maxRecordedIn is how long it is left at the most: Helm waits for 5 minutes by default.
	maxRecordedIn = 25 * time.Second
)

// Drain is the command "manager drain": it takes from the operator the right to make
// RoleBindings, ends all access, and prints a line for each. The error says what is left.
func Drain(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("manager drain", flag.ContinueOnError)
	flags.SetOutput(out)
	timeout := flags.Duration("timeout", drainTimeout, "How long it may take to end all access.")
	if helped, err := parse(flags, args); helped || err != nil {
		return err
	}
	if *timeout <= 0 {
		return fmt.Errorf("--timeout is %s, and must be more than 0s", *timeout)
	}
	c, err := reach()
	if err != nil {
		return err
	}
	return drain(ctx, c, *timeout, out)
}

func drain(ctx context.Context, c *rest.Config, timeout time.Duration, out io.Writer) error {
	live, now, err := timed(c, clock.RealClock{})
	if err != nil {
		return err
	}
	ending, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	drained := reap.Drain{
		Reaper: reap.Reaper{RoleBindings: roleBindings{live}, Now: now}, Pause: pause,
		Stop: func(ctx context.Context) error { return stopGranting(ctx, live, pause) },
		Told: func(b reap.Binding) { fmt.Fprintf(out, "ended RoleBinding %s/%s\n", b.Namespace, b.Name) },
	}.Run(ending)
	if drained.Ended > 0 {
		pause(ctx, min(recordedIn+time.Duration(drained.Ended)*recordedEach, maxRecordedIn))
	}
	return left(out, drained)
}

// stopGranting has the API server refuse each RoleBinding that the operator would make. What
// a finalizer keeps is in force, so it is done when there is nothing to delete, and the API
// server says that the operator may make none: another role may let it, or one of an older
// version.
func stopGranting(ctx context.Context, live client.Writer, pause func(context.Context, time.Duration)) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	may := &rbacv1.ClusterRoleBinding{}
	may.Name = reap.GrantingBinding
	last := fmt.Errorf("ClusterRoleBinding %s stays: take off its finalizers", may.Name)
	for ctx.Err() == nil {
		err := live.Delete(ctx, may.DeepCopy())
		if binding.NotFound(err, "clusterrolebindings") {
			if err = grantsNothing(ctx, live); err == nil {
				return nil
			}
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		pause(ctx, time.Second)
	}
	return last
}

// grantsNothing is nil if the operator may make no RoleBinding, by whichever role.
func grantsNothing(ctx context.Context, live client.Writer) error {
	review := reap.OperatorMay(reap.Granting())
	if err := live.Create(ctx, review); err != nil {
		return fmt.Errorf("asking whether the operator may make RoleBindings: %w", err)
	}
	may, err := reap.Allowed(review)
	if may {
		return fmt.Errorf("the operator may make RoleBindings by another role than that of ClusterRoleBinding %s: take that from it", reap.GrantingBinding)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-clock.RealClock{}.After(d):
	}
}

// left tells what there is still to do.
func left(out io.Writer, drained reap.Drained) error {
	for _, b := range drained.Left {
		fmt.Fprintf(out, "LEFT RoleBinding %s/%s: %v\n", b.Namespace, b.Name, b.Err)
	}
	fmt.Fprintf(out, "%d ended, %d left\n", drained.Ended, len(drained.Left))
	var errs []error
	if drained.Stopped != nil {
		errs = append(errs, fmt.Errorf("new grants may be made: %w", drained.Stopped))
	}
	if drained.Unread != nil {
		errs = append(errs, fmt.Errorf("what is left could not be told: %w", drained.Unread))
	}
	if n := len(drained.Left); n > 0 {
		errs = append(errs, fmt.Errorf("%d RoleBindings still give access; see the lines above", n))
	}
	return errors.Join(errs...)
}
