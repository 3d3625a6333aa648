// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/creack/pty"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const (
	columns = 60
	rows    = 10
)

// terminal runs a command in a pseudo-terminal, as a person would.
type terminal struct {
	tty   *os.File
	said  *transcript
	ended chan int
}

func inTerminal(cmd *exec.Cmd) *terminal {
	GinkgoHelper()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: columns, Rows: rows})
	Expect(err).NotTo(HaveOccurred())
	t := &terminal{tty: tty, said: &transcript{}, ended: make(chan int, 1)}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(t.said, tty) // ends with an error when the command has gone
	}()
	go func() {
		defer GinkgoRecover()
		code := exitCode(cmd.Wait())
		<-drained
		t.ended <- code
	}()
	DeferCleanup(func() error { return tty.Close() })
	return t
}

// keys types.
func (t *terminal) keys(s string) {
	GinkgoHelper()
	_, err := io.WriteString(t.tty, s)
	Expect(err).NotTo(HaveOccurred())
}

// screen is what a person sees after all that was written: the few control sequences
// that the plugin uses, and no other.
func (t *terminal) screen() []string {
	GinkgoHelper()
	lines, row, col := []string{""}, 0, 0
	text := t.said.String()
	for len(text) > 0 {
		if strings.HasPrefix(text, "\x1b[") {
			end := strings.IndexAny(text, "AJK")
			if end < 0 {
				break // it is being written
			}
			switch text[end] {
			case 'A':
				var up int
				_, err := fmt.Sscanf(text[2:end], "%d", &up)
				Expect(err).NotTo(HaveOccurred())
				row = max(row-up, 0)
			case 'J':
				lines[row] = string([]rune(lines[row])[:col])
				lines = lines[:row+1]
			case 'K':
				lines[row] = string([]rune(lines[row])[:min(col, len([]rune(lines[row])))])
			}
			text = text[end+1:]
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\r':
			col = 0
		case '\n':
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
		default:
			Expect(r).NotTo(Equal('\x1b'), "an unforeseen control sequence")
			line := []rune(lines[row])
			for len(line) <= col {
				line = append(line, ' ')
			}
			line[col] = r
			lines[row], col = string(line), col+1
		}
	}
	return lines
}

func (t *terminal) text() string {
	GinkgoHelper()
	return strings.Join(t.screen(), "\n")
}

var _ = Describe("In a terminal", func() {
	It("--wait redraws one line that fits, and leaves only the outcome", func(ctx SpecContext) {
		t := inTerminal(alice.command(ctx, "request", "admin", "--name", "live", "--for", "1h", "--reason", "CHG-1", "--wait"))
		DeferCleanup(func(ctx SpecContext) { _ = alice.lapse(ctx, "return", "live") })
		// The first line is what was created, on stdout.
		Eventually(t.screen).WithContext(ctx).Should(HaveExactElements(
			"accessrequest.lapse.dev/live created", MatchRegexp(`^\[\d+s\] live waits for 1 of Group "sre-leads", .*…$`), ""))
		Eventually(t.text).WithContext(ctx).Should(ContainSubstring("[2s] live waits"), "it is alive")
		for _, line := range t.screen() {
			Expect(len([]rune(line))).To(BeNumerically("<", columns))
		}
		bob.must(ctx, "approve", "live")
		dave.must(ctx, "approve", "live")
		Eventually(t.ended).WithContext(ctx).Should(Receive(Equal(codeOK)))
		Expect(t.screen()).To(HaveExactElements(
			"accessrequest.lapse.dev/live created", HavePrefix("granted: alice holds ClusterRole admin in payments until"), ""))
	}, SpecTimeout(30*time.Second))

	It("--wait ends cleanly on Ctrl-C", func(ctx SpecContext) {
		t := inTerminal(alice.command(ctx, "request", "admin", "--name", "stopped", "--for", "1h", "--reason", "CHG-1", "--wait"))
		DeferCleanup(func(ctx SpecContext) { _ = alice.lapse(ctx, "return", "stopped") })
		Eventually(t.text).WithContext(ctx).Should(ContainSubstring("stopped waits for 1 of Group"))
		t.keys("\x03")
		Eventually(t.ended).WithContext(ctx).Should(Receive(Equal(130)))
		Expect(t.screen()).To(HaveExactElements("accessrequest.lapse.dev/stopped created", "interrupted",
			"stopped stays as it is; to withdraw it: kubectl lapse return stopped -n payments", ""))
	}, SpecTimeout(30*time.Second))

	It("--watch redraws the table in place and ends cleanly on Ctrl-C", func(ctx SpecContext) {
		alice.asks(ctx, "edit", "--name", "watched", "--for", "1h", "--reason", "INC-1")
		t := inTerminal(alice.command(ctx, "get", "--mine", "--active", "--watch"))
		Eventually(t.screen).WithContext(ctx).
			Should(HaveExactElements(MatchRegexp("^NAME +SUBJECT +ROLE "), MatchRegexp(`^watched +alice +edit +Active +in `), ""))
		alice.asks(ctx, "edit", "--name", "another", "--for", "1h", "--reason", "INC-2")
		Eventually(t.screen).WithContext(ctx).Should(HaveExactElements(HavePrefix("NAME "), HavePrefix("another "), HavePrefix("watched "), ""))
		alice.must(ctx, "return", "watched")
		alice.must(ctx, "return", "another")
		Eventually(t.screen).WithContext(ctx).Should(HaveExactElements("no active requests of yours in namespace payments", ""))
		t.keys("\x03")
		Eventually(t.ended).WithContext(ctx).Should(Receive(Equal(codeOK)))
	}, SpecTimeout(30*time.Second))

	It("return asks which one", func(ctx SpecContext) {
		abby.asks(ctx, "edit", "--name", "one", "--for", "1h", "--reason", "INC-1")
		abby.asks(ctx, "edit", "--name", "two", "--for", "1h", "--reason", "INC-2")
		t := inTerminal(abby.command(ctx, "return"))
		Eventually(t.text).WithContext(ctx).Should(ContainSubstring("which one? [1-2]"))
		t.keys("2\r")
		Eventually(t.ended).WithContext(ctx).Should(Receive(Equal(codeOK)))
		Expect(abby.must(ctx, "get", "two")).To(ContainSubstring("Returned"))
		Expect(abby.must(ctx, "get", "one")).To(ContainSubstring("Active"))
	}, SpecTimeout(30*time.Second))

	It("--watch without a terminal appends a line for each change", func(ctx SpecContext) {
		name := alice.asks(ctx, "admin", "--name", "appended", "--for", "1h", "--reason", "CHG-1")
		cmd := alice.command(ctx, "get", name, "--watch")
		said, ended := begin(cmd)
		Eventually(said.String).WithContext(ctx).Should(MatchRegexp(`(?m)^NAME .*\nappended +alice +admin +Pending`))
		bob.must(ctx, "deny", name)
		Eventually(said.String).WithContext(ctx).Should(MatchRegexp(`(?m)^appended +alice +admin +Denied`))
		Expect(cmd.Process.Signal(os.Interrupt)).To(Succeed())
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeOK)))
		Expect(strings.Count(said.String(), "NAME ")).To(Equal(1))
	}, SpecTimeout(30*time.Second))
})
