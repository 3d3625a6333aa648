// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// chat is a receiver of type slack that answers with a status, and keeps what it was told.
type chat struct {
	*httptest.Server
	status int
	told   []string
}

func newChat(t *testing.T) *chat {
	t.Helper()
	c := &chat{status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.told = append(c.told, string(body))
		w.WriteHeader(c.status)
	}))
	t.Cleanup(c.Close)
	return c
}

// messagesFile has a receiver sre, and whatever else.
func (c *chat) messagesFile(t *testing.T, more string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "messages.yaml")
	text := fmt.Sprintf("cluster: prod-eu\nreceivers: [{name: sre, type: slack, url: %q, events: [asked]}]\n%s", c.URL+"/SECRET", more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mustHaveHeardOfATest fails unless it was told so many times, and each time that it is a test, and whose.
func (c *chat) mustHaveHeardOfATest(t *testing.T, times int) {
	t.Helper()
	if len(c.told) != times {
		t.Errorf("%d messages were sent", len(c.told))
	}
	for _, told := range c.told {
		for _, part := range []string{
			"This is a test of Lapse, and nobody has to do anything", `"Sent by\nbob"`, `"Receiver\nsre"`, `"Cluster\nprod-eu"`,
		} {
			if !strings.Contains(told, part) {
				t.Errorf("no %s in %s", part, told)
			}
		}
	}
}

// codeOf is what the plugin ends with.
func codeOf(err error) int {
	var ended *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ended):
		return ended.code
	default:
		return exitFailed
	}
}

// knownCluster is an API server that says who asks, and which cluster it is.
func knownCluster() answers {
	return answers{
		"version": map[string]string{"gitVersion": "v1.37.2"}, "selfsubjectreviews": queue()["selfsubjectreviews"],
		"kube-system": &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "c"},
		},
	}
}

func TestTheDoctorSendsOneTestMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		to     string
		status int
		more   string // of the file
		unread bool   // which cluster it is
		want   string
		code   int
		times  int
	}{
		"it is taken": {to: "sre", status: 200, want: "ok    message     sre (slack) took the test message test/", times: 1},
		"it is refused": {
			to: "sre", status: 404, times: 1, code: exitFailed,
			want: "FAIL  message     sre (slack) did not take the test message: refused: it answered 404 Not Found\n",
		},
		"the receiver is broken": {to: "sre", status: 500, want: "it answered 500 Internal Server Error\n", code: exitFailed, times: 1},
		"there is no such one":   {to: "ops", want: `messages.yaml has no receiver "ops"; it has sre` + "\n", code: exitFailed},
		"the file is bad": {
			to: "sre", more: "more: 1\nlink: x\n", want: `messages.yaml: link: is "x"; an https URL is allowed`, code: exitFailed,
		},
		"the cluster cannot be told": {to: "sre", unread: true, want: "?     message     could not check: you (bob) may not", code: exitUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			c, server := newChat(t), knownCluster()
			c.status = tc.status
			if tc.unread {
				delete(server, "kube-system")
			}
			out, said, err := server.said(t, "doctor", "--message", tc.to, "--messages", c.messagesFile(t, tc.more))
			if !strings.Contains(out, tc.want) || strings.Contains(out+said, "SECRET") || strings.Contains(said, "all is well") {
				t.Errorf("it prints %q and says %q, want %q", out, said, tc.want)
			}
			if code := codeOf(err); code != tc.code {
				t.Errorf("it ends with %d: %v", code, err)
			}
			c.mustHaveHeardOfATest(t, tc.times)
		})
	}
}

func TestTheDoctorNamesEachMistakeOfAFileOfMessages(t *testing.T) {
	out, _, err := knownCluster().said(t, "doctor", "--message", "sre", "--messages", newChat(t).messagesFile(t, "more: 1\nlink: x\n"))
	if strings.Count(out, "FAIL  message ") != 2 ||
		!strings.Contains(out, "\n-     message     files that it names are read on this machine") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheFileOfMessagesMayBeStdin(t *testing.T) {
	p := against(t, knownCluster().ServeHTTP)
	p.In = strings.NewReader("receivers: []")
	d := &doctor{plugin: p, receiver: "sre", messages: "-"}
	if found := d.message(t.Context()); !strings.HasPrefix(found[0].text, "-: receivers: there are 0") {
		t.Errorf("%+v", found)
	}
}

func TestAReceiverAndItsFileGoTogether(t *testing.T) {
	for _, args := range [][]string{{"--message", "sre"}, {"--messages", "x"}, {"--message", "", "--messages", "x"}} {
		out, _, err := knownCluster().said(t, append([]string{"doctor"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "a receiver and the file that has it are needed") || out != "" {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}
