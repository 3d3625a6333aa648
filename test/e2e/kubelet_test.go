// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newNode is a node on which nothing runs. Its kubelet echoes to whoever execs into a pod what
// he says, until he leaves. kube-apiserver trusts any kubelet's certificate unless it is told
// otherwise.
func newNode(ctx context.Context, admin client.Client, name string) {
	GinkgoHelper()
	kubelet := httptest.NewTLSServer(websocket.Server{
		Handshake: func(*websocket.Config, *http.Request) error { return nil }, // kube-apiserver is no browser and has no origin
		Handler:   func(conn *websocket.Conn) { _, _ = io.Copy(conn, conn) },
	})
	DeferCleanup(kubelet.Close)
	_, text, err := net.SplitHostPort(kubelet.Listener.Addr().String())
	Expect(err).NotTo(HaveOccurred())
	port, err := strconv.ParseInt(text, 10, 32)
	Expect(err).NotTo(HaveOccurred())
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
	Expect(admin.Create(ctx, node)).To(Succeed())
}

// newPod is one that is said to run on a node.
func newPod(ctx context.Context, admin client.Client, namespace, name, node string) {
	GinkgoHelper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	pod.Spec.NodeName = node
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "example.com/app"}}
	// The namespace gets its ServiceAccount a moment after it was made.
	Eventually(func() error { return admin.Create(ctx, pod) }).WithContext(ctx).Should(Succeed())
}

// session is an exec into a pod that is open until somebody closes it.
type session struct {
	conn *websocket.Conn
	call *call
}

// exec over WebSocket, as kubectl does, and into the ledger.
func (l *ledger) exec(ctx context.Context, p *person, namespace, pod string) *session {
	GinkgoHelper()
	address, err := url.Parse(p.config.Host)
	Expect(err).NotTo(HaveOccurred())
	address.Path = fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/exec", namespace, pod)
	address.RawQuery = url.Values{"command": {"sh"}, "stdin": {"true"}, "stdout": {"true"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	Expect(err).NotTo(HaveOccurred())
	c, err := l.note(p.name, req)
	Expect(err).NotTo(HaveOccurred())

	address.Scheme = "wss"
	config, err := websocket.NewConfig(address.String(), p.config.Host)
	Expect(err).NotTo(HaveOccurred())
	config.TlsConfig, err = rest.TLSConfigFor(p.config)
	Expect(err).NotTo(HaveOccurred())
	// kube-apiserver passes this one on as it is, to a kubelet of any version.
	config.Protocol = []string{"v4.channel.k8s.io"}
	config.Header.Set(auditv1.HeaderAuditID, c.id)
	conn, err := config.DialContext(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { _ = conn.Close() }) // it may be closed
	l.answered(c, http.StatusSwitchingProtocols)
	return &session{conn, c}
}

// talk shows that it is open.
func (s *session) talk() {
	GinkgoHelper()
	const words = "is anybody there?"
	Expect(s.conn.SetDeadline(time.Now().Add(10 * time.Second))).To(Succeed())
	Expect(websocket.Message.Send(s.conn, []byte(words))).To(Succeed())
	var heard []byte
	Expect(websocket.Message.Receive(s.conn, &heard)).To(Succeed())
	Expect(string(heard)).To(Equal(words))
}

// close it.
func (s *session) close() {
	GinkgoHelper()
	s.call.closed = time.Now()
	Expect(s.conn.Close()).To(Succeed())
}
