// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// prometheus is one that runs for the suite.
type prometheus struct{ address string }

// startPrometheus runs one that scrapes, and evaluates rules, each second.
func startPrometheus(ctx context.Context, root string, scrape map[string]any, rules any) *prometheus {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	write := func(name string, content any) string {
		data, err := yaml.Marshal(content)
		Expect(err).NotTo(HaveOccurred())
		path := filepath.Join(dir, name)
		Expect(os.WriteFile(path, data, 0o600)).To(Succeed())
		return path
	}
	config := write("prometheus.yaml", map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"scrape_configs": []any{scrape},
		"rule_files":     []string{write("rules.yaml", rules)},
	})
	address, err := operator.FreeAddress()
	Expect(err).NotTo(HaveOccurred())
	cmd := exec.Command(filepath.Join(root, "bin", "prometheus"), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = GinkgoWriter, GinkgoWriter
	process, err := controlplane.StartProcess(cmd)
	Expect(err).NotTo(HaveOccurred(), "starting bin/prometheus; run make test-monitoring")
	DeferCleanup(func() error { return process.Stop(10 * time.Second) })
	p := &prometheus{address}
	Eventually(func(g Gomega) {
		g.Expect(process.Ended()).To(BeFalse())
		g.Expect(p.ask(ctx, "query", url.Values{"query": {"vector(1)"}}, nil)).To(Succeed())
	}).WithContext(ctx).Should(Succeed())
	return p
}

// ask asks the API, and reads its answer into something, unless that is nil.
func (p *prometheus) ask(ctx context.Context, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/"+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s %s: %s: %w", path, query, res.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s %s: %s", path, query, answer.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer.Data, into)
}

// sample is a series with its value now.
type sample struct {
	Metric map[string]string
	Value  []any
}

// query evaluates an expression now.
func (p *prometheus) query(ctx context.Context, expr string) ([]sample, error) {
	var answer struct{ Result []sample }
	return answer.Result, p.ask(ctx, "query", url.Values{"query": {expr}}, &answer)
}

// number is the one value of an expression, or NaN.
func (p *prometheus) number(ctx context.Context, expr string) (float64, error) {
	found, err := p.query(ctx, expr)
	if err != nil || len(found) != 1 {
		return math.NaN(), err
	}
	text, ok := found[0].Value[1].(string)
	if !ok {
		return math.NaN(), fmt.Errorf("%s is %v, which is no number", expr, found[0].Value)
	}
	return strconv.ParseFloat(text, 64)
}

// alerts are the states of alerts that are not inactive.
func (p *prometheus) alerts(ctx context.Context) (map[string]string, error) {
	var answer struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	err := p.ask(ctx, "alerts", nil, &answer)
	states := map[string]string{}
	for _, a := range answer.Alerts {
		states[a.Labels["alertname"]] = a.State
	}
	return states, err
}

// selectors are those of an expression, such as {__name__="up",job="x"}.
func (p *prometheus) selectors(ctx context.Context, expr string) (found []string, err error) {
	var tree any
	if err := p.ask(ctx, "parse_query", url.Values{"query": {expr}}, &tree); err != nil {
		return nil, err
	}
	var walk func(node any)
	walk = func(node any) {
		switch n := node.(type) {
		case []any:
			for _, child := range n {
				walk(child)
			}
		case map[string]any:
			if n["type"] == "vectorSelector" || n["type"] == "matrixSelector" {
				found = append(found, selector(n))
			}
			for _, child := range n {
				walk(child)
			}
		}
	}
	walk(tree)
	return found, nil
}

func selector(node map[string]any) string {
	text := "{"
	for _, m := range node["matchers"].([]any) {
		m := m.(map[string]any)
		text += fmt.Sprintf("%s%s%q,", m["name"], m["type"], m["value"])
	}
	return text + "}"
}
