// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// renews says whether client-go gets new credentials after a 401.
func renews(config *rest.Config) bool {
	return config.ExecProvider != nil || config.AuthProvider != nil || config.BearerTokenFile != ""
}

// once401 sends a request again that was answered with 401: a token may expire at any time,
// and client-go renews it then, but for the next request.
func once401(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		// client-go writes the token into what it sends, and leaves one alone that is there.
		res, err := next.RoundTrip(req.Clone(req.Context()))
		if err != nil || res.StatusCode != http.StatusUnauthorized {
			return res, err
		}
		again, whole := rewound(req)
		if !whole {
			return res, nil
		}
		_ = res.Body.Close()
		return next.RoundTrip(again)
	})
}

// rewound is the request with its body from the beginning, if that can be had.
func rewound(req *http.Request) (again *http.Request, whole bool) {
	again = req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return again, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	again.Body = body
	return again, err == nil
}

// credentialWords are those of client-go about a credential plugin that failed; empty if none
// did. What the plugin said itself, it has written to stderr.
func credentialWords(err error) string {
	var location *url.Error
	if !errors.As(err, &location) {
		return ""
	}
	words, found := strings.CutPrefix(location.Err.Error(), "getting credentials: ")
	if !found {
		return ""
	}
	return words
}

// unauthenticated says whether nothing more can be asked before somebody logs in.
func unauthenticated(err error) bool {
	return apierrors.IsUnauthorized(err) || credentialWords(err) != ""
}

// loginText says what to do about that.
func (p *plugin) loginText(err error) string {
	const look = "kubectl config view --minify shows what is used"
	switch words := credentialWords(err); {
	case words != "":
		return words + "\nthe credential plugin of your kubeconfig gives no credentials: do what it says above, or log in again; " + look
	case p.credentials != "":
		return "the API server twice did not accept what the credential plugin " + p.credentials + " gives; log in again with it; " + look
	default:
		return "the API server does not accept who you are; log in again; " + look
	}
}
