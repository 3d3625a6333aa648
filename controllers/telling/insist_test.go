// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"errors"
	"testing"

	"github.com/lapse-dev/lapse/internal/receiver"
)

// One address that is wrong would keep all later messages from the others.
func TestWhatSomeAddressesTookAndOthersRefuseIsTaken(t *testing.T) {
	refusal := errors.New("550 no such user")
	if err := taken(t.Context(), "mail", &receiver.Partly{Refusal: refusal}); err != nil {
		t.Error(err)
	}
	if err := taken(t.Context(), "mail", refusal); !errors.Is(err, refusal) {
		t.Errorf("what nobody took: %v", err)
	}
}
