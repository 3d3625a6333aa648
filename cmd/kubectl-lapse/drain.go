// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// stopWithin is how long the API server is given to refuse what the operator would
	// make; it takes some milliseconds.
	stopWithin = 15 * time.Second
	// recordedWithin is how long the operator is given to record what ended.
	recordedWithin = 10 * time.Second
)

// drain is `kubectl lapse drain`.
type drain struct {
	*plugin
	c       *cluster
	me      *v1alpha1.Identity
	timeout time.Duration
	comment string
	dryRun  bool
	yes     bool
}

func (p *plugin) drainCommand() *cobra.Command {
	d := &drain{plugin: p}
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "End all access and have nothing new granted, before Lapse is removed",
		Long: `End all access by Lapse in all namespaces, and say what is left.

First it deletes the ClusterRoleBinding lapse-granting, so that the API server lets the
operator make no RoleBinding any more: nothing is granted until it is applied again, as by
kubectl apply -k or helm upgrade. The operator goes on ending access, and records it.

Then each grant is revoked, with --reason. What the operator has not ended ten seconds
later, as when it is gone, and what you may not revoke, is ended by itself: its RoleBinding
is deleted, or else its subjects are taken off. One that fails or hangs keeps no other from
ending. Policies and requests stay.

Exit codes: 0 nobody holds anything by Lapse and nothing is granted, 1 something is left,
and is listed. A cluster admin can do all of it. See docs/install.md, Uninstall.`,
		Example: "  kubectl lapse drain --dry-run\n  kubectl lapse drain --yes --timeout 5m",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	d.timeout = 2 * time.Minute
	cmd.Flags().Var((*durationFlag)(&d.timeout), "timeout", "How long it may take to end all access.")
	cmd.Flags().StringVar(&d.comment, "reason", "Lapse is drained", "Why, one line; whoever held access reads it.")
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "Say what would end, and end nothing.")
	cmd.Flags().BoolVarP(&d.yes, "yes", "y", false, "Do not ask whether you are sure.")
	return cmd
}

func (d *drain) run(ctx context.Context) error {
	if d.timeout <= 0 {
		return fmt.Errorf("--timeout is %s, and must be more than 0s, such as 2m", d.timeout)
	}
	d.comment = d.legible(d.comment)
	var err error
	if d.c, err = d.connect(); err != nil {
		return err
	}
	look := d.reaper(d.c)
	look.All, look.DryRun = true, true
	held, err := look.Run(ctx)
	switch {
	case err != nil:
		return err
	case d.dryRun:
		d.rehearse(held)
		return nil
	}
	if err := d.sure(len(held)); err != nil {
		return err
	}
	if d.me, err = d.c.whoami(ctx); err != nil {
		d.say("nothing is revoked in your name, and RoleBindings are deleted at once: %s", d.explain(err))
	}
	came := d.drain(ctx)
	if came.Stopped == nil {
		came.Stopped = d.broughtBack(ctx)
	}
	return d.report(ctx, came)
}

// broughtBack asks once more: what applies Lapse from Git may have undone it meanwhile.
func (d *drain) broughtBack(ctx context.Context) error {
	switch may, err := d.c.operatorMayGrant(ctx); {
	case err != nil:
		return fmt.Errorf("whether the operator may still make RoleBindings could not be asked: %s", d.explain(err))
	case may:
		return fmt.Errorf("something brought ClusterRoleBinding %s back; suspend what applies Lapse, and run it again", reap.GrantingBinding)
	}
	return nil
}

// rehearse says what would be done.
func (d *drain) rehearse(held []reap.Binding) {
	fmt.Fprintf(d.Out, "clusterrolebinding.rbac.authorization.k8s.io/%s deleted (dry run)\n", reap.GrantingBinding)
	for _, b := range held {
		fmt.Fprintf(d.Out, "%s ended in %s (dry run): %s\n", nameOf(b), text.Line(b.Namespace), d.gives(b))
	}
}

func nameOf(b reap.Binding) string {
	return "rolebinding.rbac.authorization.k8s.io/" + text.Line(b.Name)
}

// gives is who holds what by a binding, and until when.
func (d *drain) gives(b reap.Binding) string {
	seen := b.Seen()
	who := make([]string, 0, len(seen.Subjects))
	for _, s := range seen.Subjects {
		who = append(who, s.Kind+" "+s.Name)
	}
	return text.Line(fmt.Sprintf("%s %s for %s until %s", seen.RoleRef.Kind, seen.RoleRef.Name, strings.Join(who, ", "), text.Time(b.Deadline)))
}

// sure asks a person. A script has to say it.
func (d *drain) sure(held int) error {
	what := fmt.Sprintf("this ends all access by Lapse (grants that are held: %d), and has nothing granted until it is applied again", held)
	switch {
	case d.yes:
		return nil
	case !d.asksAPerson():
		return fmt.Errorf("nothing was ended: %s; say --yes if you mean it", what)
	}
	fmt.Fprintf(d.ErrOut, "%s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(d.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was ended")
	}
	return nil
}

func (d *drain) drain(ctx context.Context) reap.Drained {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return reap.Drain{
		Reaper: d.reaper(d.c), Stop: d.stop, Ask: d.revoke, Empty: d.empty, Pause: pause,
		Told: func(b reap.Binding) {
			fmt.Fprintf(d.Out, "%s ended in %s: %s\n", nameOf(b), text.Line(b.Namespace), d.gives(b))
		},
	}.Run(ctx)
}

// stop takes the right to make RoleBindings from the operator, and waits until the API
// server says so.
func (d *drain) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	may := &rbacv1.ClusterRoleBinding{}
	err := d.c.get(ctx, "", reap.GrantingBinding, may)
	if err == nil {
		err = d.c.delete(ctx, may)
	}
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("%s; %s", d.explain(err), d.stopByHand())
	}
	err = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		may, err := d.c.operatorMayGrant(ctx)
		return !may, err
	})
	switch {
	case wait.Interrupted(err):
		return fmt.Errorf("the operator may still make RoleBindings, by another role than that of ClusterRoleBinding %s; %s", reap.GrantingBinding, d.stopByHand())
	case err != nil:
		return fmt.Errorf("whether the operator may still make RoleBindings could not be asked: %s; %s", d.explain(err), d.stopByHand())
	}
	return nil
}

func (d *drain) stopByHand() string {
	return fmt.Sprintf("stop it: kubectl scale -n %s deployment/%s --replicas=0", operatorNamespace, operatorAccount)
}

// revoke has the operator end a grant, and record who wanted that and why.
func (d *drain) revoke(ctx context.Context, b *rbacv1.RoleBinding) error {
	owner := binding.OwnerOf(b)
	if d.me == nil || owner.UID == "" || owner.Key.Name == "" {
		return errors.New("it is not known who asks for the end, or of which request")
	}
	req := &v1alpha1.AccessRequest{}
	req.Namespace, req.Name, req.UID = owner.Key.Namespace, owner.Key.Name, owner.UID
	_, err := d.cast(ctx, d.c, req, d.me, v1alpha1.VerdictRevoke, d.comment)
	return err
}

// empty takes the subjects off exactly this binding.
func (d *drain) empty(ctx context.Context, b *rbacv1.RoleBinding) error {
	obj := &rbacv1.RoleBinding{}
	obj.Namespace, obj.Name = b.Namespace, b.Name
	err := d.c.patch(ctx, obj, fmt.Appendf(nil, `{"metadata":{"uid":%q},"subjects":null}`, b.UID))
	if err == nil && len(obj.Subjects) > 0 {
		return errors.New("something puts them back, such as a mutating webhook")
	}
	return err
}

// report says what is left, and what to do about it.
func (d *drain) report(ctx context.Context, came reap.Drained) error {
	for _, b := range came.Left {
		d.say("left: %s in %s: %s: %s", nameOf(b), text.Line(b.Namespace), d.gives(b), d.explain(b.Err))
		d.say("  end it: kubectl delete rolebinding -n %s %s; if it stays: kubectl patch rolebinding -n %s %s --type=merge -p '{\"subjects\":null}'",
			text.Line(b.Namespace), text.Line(b.Name), text.Line(b.Namespace), text.Line(b.Name))
	}
	if len(came.Left) == 0 && came.Unread == nil && ctx.Err() == nil {
		d.unrecorded(ctx)
		d.kept(ctx)
	}
	var wrong []string
	if came.Stopped != nil {
		wrong = append(wrong, "new grants may be made: "+came.Stopped.Error())
	}
	if came.Unread != nil {
		wrong = append(wrong, "what is left could not be listed: "+d.explain(came.Unread))
	}
	if n := len(came.Left); n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d RoleBindings still give access; run it again once what is named above is mended", n))
	}
	if len(wrong) > 0 {
		return &exitError{exitFailed, fmt.Sprintf("ended: %d; %s", came.Ended, strings.Join(wrong, "; "))}
	}
	d.say("ended: %d; nobody holds anything by Lapse, and nothing is granted until ClusterRoleBinding %s is applied again", came.Ended, reap.GrantingBinding)
	return nil
}

// unrecorded waits a moment for the operator to record what ended: it may go next, and its
// records with it.
func (d *drain) unrecorded(ctx context.Context) {
	var active []string
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, recordedWithin, true, func(ctx context.Context) (bool, error) {
		list := &v1alpha1.AccessRequestList{}
		if err := d.c.list(ctx, "", list); err != nil {
			return false, err
		}
		active = nil
		for i := range list.Items {
			if list.Items[i].Status.State == v1alpha1.StateActive {
				active = append(active, list.Items[i].Namespace+"/"+list.Items[i].Name)
			}
		}
		return len(active) == 0, nil
	})
	switch {
	case apierrors.IsNotFound(err): // the kinds are gone, and nothing is recorded
	case err != nil && !wait.Interrupted(err):
		d.say("whether the operator recorded all ends could not be read: %s", d.explain(err))
	case len(active) > 0:
		d.say("nobody holds anything by them, but no operator has recorded that these ended: %s", strings.Join(active, ", "))
	}
}

// kept names what gives nothing any more, and stays because of a finalizer.
func (d *drain) kept(ctx context.Context) {
	options := &metav1.ListOptions{LabelSelector: binding.Selector().String()}
	list := &rbacv1.RoleBindingList{}
	if err := d.c.listBy(ctx, "", options, list); err != nil {
		d.say("what finalizers keep could not be listed: %s", d.explain(err))
		return
	}
	for i := range list.Items {
		if b := &list.Items[i]; len(b.Finalizers) > 0 {
			d.say("it gives nothing, but finalizers keep rolebinding %s in %s: %s; take them off: kubectl patch rolebinding -n %s %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'",
				b.Name, b.Namespace, strings.Join(b.Finalizers, ", "), b.Namespace, b.Name)
		}
	}
}
