// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// Probes answers at each path whether all of its checks are in order, and below the path
// whether a single one is. It logs nothing, since anybody may ask as often as he likes.
func Probes(checks map[string]map[string]healthz.Checker) http.Handler {
	mux := http.NewServeMux()
	for path, all := range checks {
		mux.Handle(path, probe(all))
		for name, check := range all {
			mux.Handle(path+"/"+name, probe(map[string]healthz.Checker{name: check}))
		}
	}
	return mux
}

func probe(checks map[string]healthz.Checker) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, answer := http.StatusOK, &strings.Builder{}
		for _, name := range slices.Sorted(maps.Keys(checks)) {
			if err := checks[name](r); err != nil {
				status = http.StatusInternalServerError
				fmt.Fprintf(answer, "[-]%s failed: %v\n", name, err)
			} else {
				fmt.Fprintf(answer, "[+]%s ok\n", name)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	})
}
