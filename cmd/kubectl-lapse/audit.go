// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
)

func (p *plugin) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check the records of who had what, without a cluster",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.auditVerifyCommand(), p.auditKeyCommand())
	return cmd
}

func (p *plugin) auditKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key NAME",
		Short: "Make a key by which the operator signs the last record",
		Long: `Make a key for --record-key-file of the operator. The key goes to stdout: keep it where
only the operator reads it. The public key, for audit verify --key, goes to stderr.`,
		Example: "  kubectl lapse audit key prod.example.com >lapse.key 2>lapse.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			private, public, err := note.GenerateKey(rand.Reader, args[0])
			if err != nil {
				return err
			}
			if _, err := note.NewSigner(private); err != nil {
				return fmt.Errorf("%q is no name for a key: it may have no spaces and no +", args[0])
			}
			fmt.Fprintln(p.Out, private)
			fmt.Fprintln(p.ErrOut, public)
			return nil
		},
	}
}

// verifyOptions are those of `kubectl lapse audit verify`.
type verifyOptions struct {
	*plugin
	heads []string
	keys  []string
	json  bool
}

func (p *plugin) auditVerifyCommand() *cobra.Command {
	o := &verifyOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Find what was removed from records, changed, added or moved",
		Long: `Read the records that the operator wrote, and find what was removed, changed, added or
moved. FILE is a file, a folder or - for stdin; what ends in .gz is unpacked. Lines that
are no records are passed over, so that the log of the operator can be read as it is.

Each record carries the hash of the one before. What cannot be told from records alone is
whether the last ones were cut off: for that, keep what --json prints elsewhere, or the
head that the operator keeps in its Lease and signs if it has a key, and give it with
--head. Give all files of one sink: those of another are the same records again.

Exit codes: 0 all as it was written; 1 something is wrong; 3 unclear: an operator was
killed, or there is nothing of one that wrote before.`,
		Example: `  kubectl lapse audit verify records/ --json >heads.json   # and later:
  kubectl lapse audit verify records/ --head heads.json
  kubectl lapse audit verify records/ --head lease.head --key "$(cat lapse.pub)"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(args) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.heads, "head", nil, "File with heads that were kept: one of the Lease, or what --json printed; may be given again.")
	f.StringArrayVar(&o.keys, "key", nil, "Public key by which heads have to be signed; may be given again. Without one, signatures are not looked at.")
	f.BoolVar(&o.json, "json", false, "Print what was found in JSON.")
	return cmd
}

func (o *verifyOptions) run(args []string) error {
	kept, err := o.kept()
	if err != nil {
		return err
	}
	v := audit.NewVerifier(kept...)
	for _, arg := range args {
		if err := eachFile(o.In, arg, v.Read); err != nil {
			return err
		}
	}
	found := v.Result()
	if found.Records == 0 {
		return errors.New("there are no records in it")
	}
	if o.json {
		err = writeJSON(o.Out, found)
	} else {
		o.print(&found)
	}
	switch {
	case err != nil:
		return err
	case len(found.Findings) > 0:
		return &exitError{exitFailed, fmt.Sprintf("findings: %d", len(found.Findings))}
	case len(found.Unclear) > 0:
		return &exitError{exitUnknown, fmt.Sprintf("nothing was changed, as far as these records tell; unclear: %d", len(found.Unclear))}
	}
	o.say("nothing was changed, as far as these records tell")
	return nil
}

func (o *verifyOptions) print(found *audit.Verification) {
	for _, finding := range found.Findings {
		fmt.Fprintln(o.Out, text.Line(finding.String()))
	}
	for _, unclear := range found.Unclear {
		fmt.Fprintln(o.Out, "unclear: "+text.Line(unclear.String()))
	}
	for _, head := range found.Heads {
		fmt.Fprintf(o.Out, "writer %s: up to record %d, head %s\n", text.Line(head.Writer), head.Sequence, head.Hash)
	}
	for _, writer := range found.Open {
		o.say("writer %s did not say that it ended: it writes still, was killed, or what it wrote last was cut off; compare with a head that you kept (--head)", text.Line(writer))
	}
	o.say("%d records, and %d other lines", found.Records, found.Others)
}

// kept are the heads that were given.
func (o *verifyOptions) kept() ([]audit.Head, error) {
	verifiers := make([]note.Verifier, 0, len(o.keys))
	for _, key := range o.keys {
		verifier, err := note.NewVerifier(strings.TrimSpace(key))
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		verifiers = append(verifiers, verifier)
	}
	var heads []audit.Head
	for _, file := range o.heads {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		found, err := openHeads(data, verifiers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		heads = append(heads, found...)
	}
	return heads, nil
}

// openHeads reads what --json printed, or a head, which has to be signed if there are keys.
func openHeads(data []byte, verifiers []note.Verifier) ([]audit.Head, error) {
	if len(verifiers) > 0 {
		if !bytes.Contains(data, []byte("\n\n")) { // signatures follow an empty line
			return nil, errors.New("this head has no signature: the operator signs it if it has --record-key-file; without --key it is read as it is")
		}
		head, err := audit.OpenHead(data, note.VerifierList(verifiers...))
		return []audit.Head{head}, err
	}
	var printed audit.Verification
	if json.Unmarshal(data, &printed) == nil && len(printed.Heads) > 0 {
		return printed.Heads, nil
	}
	unsigned, _, _ := bytes.Cut(data, []byte("\n\n"))
	head, err := audit.ParseHead(strings.TrimSuffix(string(unsigned), "\n") + "\n")
	return []audit.Head{head}, err
}

// eachFile reads a file, all files of a folder, or stdin.
func eachFile(in io.Reader, path string, read func(name string, r io.Reader) error) error {
	if path == "-" {
		return read("stdin", in)
	}
	return filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if !strings.HasSuffix(file, ".gz") {
			return read(file, f)
		}
		unpacked, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return read(file, unpacked)
	})
}
