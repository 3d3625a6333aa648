// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/clouds"
)

// checkClouds has the log of the night told as clouds export it, and wants the same histories.
func (n *night) checkClouds(ctx context.Context, want []history) {
	GinkgoHelper()
	for name, log := range clouds.Exports(GinkgoTB(), n.file(n.plane.AuditLog())) {
		By("the log as a cloud exports it: " + name)
		Expect(os.WriteFile(filepath.Join(n.dir, "cloud.log"), log, 0o600)).To(Succeed())
		expected := want
		if name == clouds.GKE {
			expected = inGKE(want)
		}
		Expect(n.histories(ctx, "cloud.log")).To(Equal(expected), name)
	}
}

// inGKE is what of histories logs of GKE tell: of an answer what it stands for in gRPC, and of a
// session not when it was over.
func inGKE(all []history) []history {
	out := slices.Clone(all)
	for i := range out {
		for _, calls := range []*[]toldCall{&out[i].Calls, &out[i].Others, &out[i].Refused} {
			*calls = slices.Clone(*calls)
			for j := range *calls {
				c := &(*calls)[j]
				c.Outlived = false
				switch {
				case c.Code < http.StatusBadRequest:
					c.Code = http.StatusOK
				case c.Code == http.StatusUnprocessableEntity:
					c.Code = http.StatusBadRequest
				}
			}
		}
	}
	return out
}
