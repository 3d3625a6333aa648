// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package guarding

import (
	"context"
	"encoding/json"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/internal/admission"
)

const (
	// noteName is the Lease that has what is known of the policies: a kind that the operator
	// may write anyway.
	noteName = "lapse-admission"
	// noteAnnotation of that Lease is an admission.Known in JSON.
	noteAnnotation = "admission.lapse.dev/known"
)

// readNote is what an operator noted last; the zero value if none did.
func (w watcher) readNote(ctx context.Context) (admission.Known, error) {
	lease := &coordinationv1.Lease{}
	if err := w.live.Get(ctx, client.ObjectKey{Namespace: w.guard.namespace, Name: noteName}, lease); err != nil {
		return admission.Known{}, client.IgnoreNotFound(err)
	}
	var k admission.Known
	if err := json.Unmarshal([]byte(lease.Annotations[noteAnnotation]), &k); err != nil {
		log.FromContext(ctx).Error(err, "somebody else wrote what is known of the admission policies; it counts as nothing", "lease", noteName)
		return admission.Known{}, nil
	}
	return k, nil
}

// writeNote says what the next operator has to know.
func (w watcher) writeNote(ctx context.Context, k admission.Known) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	lease := &coordinationv1.Lease{}
	err = w.live.Get(ctx, client.ObjectKey{Namespace: w.guard.namespace, Name: noteName}, lease)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&lease.ObjectMeta, noteAnnotation, string(text))
	if apierrors.IsNotFound(err) {
		lease.Namespace, lease.Name = w.guard.namespace, noteName
		return w.writer.Create(ctx, lease)
	}
	return w.writer.Update(ctx, lease)
}

// recall has the guard know what an operator before it noted, once.
func (w watcher) recall(ctx context.Context) error {
	g := w.guard
	g.mu.Lock()
	read := g.noteRead
	g.mu.Unlock()
	if read {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	k, err := w.readNote(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.late = true
		return fmt.Errorf("reading what is known of the admission policies: %w", err)
	}
	switch {
	case len(k.Versions) > 0:
		g.record.Recall(g.clock.Now(), k)
	case g.late:
		g.record.RecalledLate()
	}
	g.noteRead = true
	return nil
}

// note what the next operator has to know, if that is new.
func (w watcher) note(ctx context.Context) {
	w.guard.mu.Lock()
	k, ok := w.guard.record.ToNote()
	w.guard.mu.Unlock()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	err := w.writeNote(ctx, k)
	w.guard.mu.Lock()
	defer w.guard.mu.Unlock()
	w.guard.record.Noted(err)
}
