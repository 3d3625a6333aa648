// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// maxName keeps names within what a label could hold and a table shows, in characters.
const maxName = 63

// namePattern is the form of Name.
var namePattern = regexp.MustCompile(`^lapse-.+-[0-9a-f]{8}$`)

// Name is the name of the binding of a request: lapse-, the name of the request as far as
// it fits, and the first eight characters of its UID.
func Name(req metav1.Object) string { return nameFor(req.GetName(), req.GetUID()) }

func nameFor(request string, requestUID types.UID) string {
	uid := string(requestUID)
	uid = uid[:min(8, len(uid))]
	if room := maxName - len(v1alpha1.BindingPrefix) - 1 - len(uid); len(request) > room {
		request = strings.TrimRight(request[:room], "-.")
	}
	return v1alpha1.BindingPrefix + request + "-" + uid
}

// Misnamed says whether a managed binding has another name than the binding of the
// request that it names as its owner. That request has one grant, and this is not it.
func Misnamed(b metav1.Object) bool {
	owner := OwnerOf(b)
	return b.GetName() != nameFor(owner.Key.Name, owner.UID)
}
