// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/internal/audit"
)

// recorded are the records of one writer who was killed, and the head that was kept.
func recorded(t *testing.T) (lines []string, head audit.Head) {
	t.Helper()
	chain := audit.NewChain("lapse-manager-1")
	for _, r := range []audit.Record{
		{SpecVersion: "1.0", ID: "lapse-manager-1/began", Type: audit.WriterBegan, Data: audit.Data{Began: &audit.Began{Version: "v0.1.0"}}},
		{SpecVersion: "1.0", ID: "1/asked", Type: audit.Asked},
		{SpecVersion: "1.0", ID: "1/granted", Type: audit.Granted},
	} {
		line, err := chain.Append(r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line)+"\n")
	}
	return lines, chain.Head()
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(text))
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAuditVerify(t *testing.T) {
	lines, head := recorded(t)
	private, public, err := note.GenerateKey(rand.Reader, "lapse.example.com")
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := note.GenerateKey(rand.Reader, "lapse.example.com")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := head.Note(signer)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := head.Note(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"whole/1.jsonl.gz": zipped(t, lines[0]+lines[1]), "whole/2.jsonl": []byte("a line of a log\n" + lines[2]),
		"cut.jsonl": []byte(lines[0] + lines[1]), "gap.jsonl": []byte(lines[0] + lines[2]), "log.txt": []byte("nothing\n"), "kept.head": signed,
		"bare.head":     bare,
		"twice/1.jsonl": []byte(lines[0] + lines[1]), "twice/1.jsonl.gz": zipped(t, lines[0]+lines[1]), "twice/2.jsonl": []byte(lines[2]),
		"kept.json": []byte(`{"records":3,"heads":[{"writer":"lapse-manager-1","sequence":3,"hash":"` + head.Hash + `"}]}`),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"whole":                                  {0, "writer lapse-manager-1: up to record 3, head " + head.Hash},
		"whole --head kept.head --key " + public: {0, "3 records, and 1 other lines"},
		"whole --head kept.head --key " + stranger: {1, "kept.head: signed head"},
		"whole --head bare.head":                   {0, "nothing was changed"},
		"whole --head bare.head --key " + public:   {1, "bare.head: this head has no signature: the operator signs it if it has "},
		"cut.jsonl":                                {0, "did not say that it ended"},
		"cut.jsonl --head kept.head":               {1, "its chain was cut off"},
		"gap.jsonl":                                {1, "gap.jsonl:2: record 3 of writer lapse-manager-1 comes after record 1"},
		"whole --head kept.json":                   {0, "nothing was changed"},
		"twice --head kept.json":                   {0, "nothing was changed"},
		"cut.jsonl --head kept.json":               {1, "its chain was cut off"},
		"gap.jsonl --json":                         {1, `"problem": "record 3 of writer`},
		"log.txt":                                  {1, "there are no records in it"},
		"gone.jsonl":                               {1, "no such file"},
		"whole --head whole/2.jsonl":               {1, "this is no head of lapse records"},
		"whole --key none --head none":             {1, "--key: malformed verifier"},
	} {
		streams, _, out, errOut := genericiooptions.NewTestIOStreams()
		code := run(t.Context(), append([]string{"audit", "verify"}, strings.Fields(args)...), streams)
		if said := out.String() + errOut.String(); code != want.code || !strings.Contains(said, want.says) {
			t.Errorf("verify %s: exit %d, want %d, and it says:\n%s\nwant in it: %s", args, code, want.code, said, want.says)
		}
	}
}

func TestAuditKeyMakesAPair(t *testing.T) {
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	if code := run(t.Context(), []string{"audit", "key", "prod.example.com"}, streams); code != 0 {
		t.Fatal(errOut)
	}
	signer, err := note.NewSigner(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(errOut.String()))
	if err != nil {
		t.Fatal(err)
	}
	_, head := recorded(t)
	signed, err := head.Note(signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := audit.OpenHead(signed, note.VerifierList(verifier)); err != nil || got != head {
		t.Errorf("%v, %v", got, err)
	}
	streams, _, _, errOut = genericiooptions.NewTestIOStreams()
	code := run(t.Context(), []string{"audit", "key", "a b"}, streams)
	if code != 1 || !strings.Contains(errOut.String(), "no name for a key") {
		t.Errorf("%d %s", code, errOut)
	}
}
