// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package serving

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// reviewTimeout bounds what the API server is asked.
	reviewTimeout = 10 * time.Second
	// knownFor is how long a token that passed is looked at without taking a turn.
	knownFor = 10 * time.Minute
)

// Reviewed lets only those pass whose token the API server knows, and who may do by RBAC
// what they ask for, as nonResourceURL. It asks about few unknown tokens each second: false
// ones may come by the thousand.
func Reviewed(next http.Handler, reviews client.Writer) http.Handler {
	turns, known := newTurns(), utilcache.NewExpiring()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r.Header.Get("Authorization"))
		switch {
		case token == "":
			refuse(w, "send a token: Authorization: Bearer …", http.StatusUnauthorized)
			return
		case !passed(known, token) && !turns.take(host(r.RemoteAddr)):
			refuse(w, "more unknown tokens than are looked at; try again in some seconds", http.StatusTooManyRequests)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
		defer cancel()
		answer, status, err := review(ctx, reviews, token, r)
		if err != nil && r.Context().Err() == nil { // else it was called off by whoever asked
			log.FromContext(ctx).Error(err, "asking the API server who may read this", "path", r.URL.Path)
		}
		if status != http.StatusOK {
			refuse(w, answer, status)
			return
		}
		known.Set(sha256.Sum256([]byte(token)), nil, knownFor)
		next.ServeHTTP(w, r)
	})
}

// bearer is the token of a header; empty if it has none. The name of the scheme may be
// written in any case.
func bearer(header string) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func refuse(w http.ResponseWriter, answer string, status int) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	http.Error(w, answer, status)
}

// passed says whether a token did lately: those who flood us with false ones keep nobody out
// who is known.
func passed(known *utilcache.Expiring, token string) bool {
	_, there := known.Get(sha256.Sum256([]byte(token)))
	return there
}

func review(ctx context.Context, reviews client.Writer, token string, r *http.Request) (answer string, status int, err error) {
	who := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := reviews.Create(ctx, who); err != nil {
		return "the API server could not be asked whose token this is; see the log of the operator", http.StatusServiceUnavailable, err
	}
	if !who.Status.Authenticated {
		return "the API server does not know this token; send one of a ServiceAccount that has ClusterRole lapse-metrics-reader", http.StatusUnauthorized, nil
	}
	user := who.Status.User
	may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
	}}
	for key, values := range user.Extra {
		may.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	if err := reviews.Create(ctx, may); err != nil {
		return "the API server could not be asked what you may; see the log of the operator", http.StatusServiceUnavailable, err
	}
	if !may.Status.Allowed || may.Status.Denied {
		return fmt.Sprintf("%s may not %s %s; ClusterRole lapse-metrics-reader allows it", user.Username, may.Spec.NonResourceAttributes.Verb, r.URL.Path), http.StatusForbidden, nil
	}
	return "", http.StatusOK, nil
}
