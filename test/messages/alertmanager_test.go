// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package messages

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// alert as Alertmanager understood it.
type alert struct {
	// Status is firing or resolved where people are told of it; the API has an object there.
	Status              any
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	GeneratorURL        string
}

// alertmanager is one that runs for the suite, and tells people of each alert by itself.
type alertmanager struct {
	address string
	client  *http.Client
	mu      sync.Mutex
	told    []alert
}

// startAlertmanager runs one that serves HTTPS.
func startAlertmanager(ctx context.Context, dir, certificate, key string) *alertmanager {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	a := &alertmanager{}
	a.address, err = operator.FreeAddress()
	Expect(err).NotTo(HaveOccurred())
	pem, err := os.ReadFile(certificate)
	Expect(err).NotTo(HaveOccurred())
	trusted := x509.NewCertPool()
	Expect(trusted.AppendCertsFromPEM(pem)).To(BeTrue())
	a.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}}
	hook := httptest.NewServer(http.HandlerFunc(a.notified))
	DeferCleanup(hook.Close)
	config := write(dir, "alertmanager.yaml", fmt.Sprintf(`
route: {receiver: people, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: people, webhook_configs: [{url: %q, send_resolved: true}]}]
`, hook.URL))
	web := write(dir, "web.yaml", fmt.Sprintf("tls_server_config: {cert_file: %s, key_file: %s}\n", certificate, key))
	cmd := exec.Command(filepath.Join(root, "bin", "alertmanager"), "--config.file="+config, "--web.config.file="+web,
		"--storage.path="+filepath.Join(dir, "alertmanager"), "--web.listen-address="+a.address, "--cluster.listen-address=", "--log.level=warn")
	cmd.Stdout, cmd.Stderr = GinkgoWriter, GinkgoWriter
	process, err := controlplane.StartProcess(cmd)
	Expect(err).NotTo(HaveOccurred(), "starting bin/alertmanager; run make test-messages")
	DeferCleanup(func() error { return process.Stop(10 * time.Second) })
	Eventually(func(g Gomega) {
		g.Expect(process.Ended()).To(BeFalse())
		_, err := a.firing(ctx)
		g.Expect(err).NotTo(HaveOccurred())
	}).WithContext(ctx).Should(Succeed())
	return a
}

// notified keeps what people are told.
func (a *alertmanager) notified(_ http.ResponseWriter, req *http.Request) {
	defer GinkgoRecover()
	var notice struct{ Alerts []alert }
	Expect(json.NewDecoder(req.Body).Decode(&notice)).To(Succeed())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, notice.Alerts...)
}

// toldOf is what people were told of the alert with these labels, in order.
func (a *alertmanager) toldOf(labels map[string]string) (found []alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.told {
		if maps.Equal(one.Labels, labels) {
			found = append(found, one)
		}
	}
	return found
}

// firing are the alerts that go on.
func (a *alertmanager) firing(ctx context.Context) (all []alert, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+a.address+"/api/v2/alerts", http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		return nil, fmt.Errorf("%s: %w", res.Status, err)
	}
	return all, nil
}

// fires waits for the alert with these labels.
func (a *alertmanager) fires(ctx context.Context, labels map[string]string) (found alert) {
	GinkgoHelper()
	Eventually(a.firing).WithContext(ctx).Should(ContainElement(HaveField("Labels", labels), &found))
	return found
}

// ends waits until people were told that an alert fires, and that it is over, which is before it
// would have been over by itself.
func (a *alertmanager) ends(ctx context.Context, before alert) {
	GinkgoHelper()
	Eventually(a.toldOf).WithContext(ctx).WithArguments(before.Labels).
		Should(HaveExactElements(HaveField("Status", "firing"), HaveField("Status", "resolved")))
	Expect(a.toldOf(before.Labels)[1].EndsAt).To(BeTemporally("<", before.EndsAt))
}
