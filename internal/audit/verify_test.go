// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// written are the lines of a writer who told n records, and the head that he kept.
func written(t *testing.T, writer string, n int, before *Head) ([][]byte, Head) {
	t.Helper()
	chain := NewChain(writer)
	var lines [][]byte
	add := func(r Record) {
		line, err := chain.Append(r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	at := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	began := Data{Began: &Began{Version: "v1", Predecessor: before}}
	add(Record{SpecVersion: "1.0", ID: writer + "/began", Type: WriterBegan, Time: at, Data: began})
	for i := range n {
		add(Record{SpecVersion: "1.0", ID: fmt.Sprint(i), Type: Granted, Time: at, Data: Data{Request: &Request{
			Namespace: "payments", Name: "debug", Reason: "INC-4211: <checkout>\nreturns \"500\" \u2028",
		}}})
	}
	add(Record{SpecVersion: "1.0", ID: writer + "/ended", Type: WriterEnded, Time: at})
	return lines, chain.Head()
}

func verify(t *testing.T, files [][]byte, kept ...Head) Verification {
	t.Helper()
	v := NewVerifier(kept...)
	for i, file := range files {
		if err := v.Read(fmt.Sprint("file-", i), bytes.NewReader(file)); err != nil {
			t.Fatal(err)
		}
	}
	return v.Result()
}

func file(lines ...[]byte) []byte { return append(bytes.Join(lines, []byte("\n")), '\n') }

func TestWhatWasWrittenVerifies(t *testing.T) {
	a, headA := written(t, "a", 20, nil)
	b, headB := written(t, "b", 20, &headA)
	for name, files := range map[string][][]byte{
		"one file":              {file(slices.Concat(a, b)...)},
		"a file each":           {file(a...), file(b...)},
		"rotated, last first":   {file(b...), file(a[7:]...), file(a[:7]...)},
		"both in turns":         {file(a[0], a[1], b[0], a[2]), file(slices.Concat(b[1:], a[3:])...)},
		"a line twice in a row": {file(slices.Concat(a[:3], a[2:], b)...)},
		"no newline at its end": {file(a...), bytes.TrimSuffix(file(b...), []byte("\n"))},
		"a copy of a file":      {file(a[:7]...), file(a...), file(a[3:5]...), file(b...), file(b...)},
		"a file and a part":     {file(a[:9]...), file(a[4:]...), file(b...)},
	} {
		got := verify(t, files, headA, headB)
		if len(got.Findings) > 0 || len(got.Open) > 0 || got.Records < len(a)+len(b) {
			t.Errorf("%s: %+v", name, got)
		}
		if !slices.Equal(got.Heads, []Head{headA, headB}) {
			t.Errorf("%s: heads %v", name, got.Heads)
		}
	}
}

// Each change is of a writer's whole story, whose head was kept elsewhere.
func TestEachOfAThousandChangesIsFound(t *testing.T) {
	lines, head := written(t, "a", 40, nil)
	random := mathrand.New(mathrand.NewPCG(1, 2)) //nolint:gosec // the same changes each time
	whole := file(lines...)
	for range 1000 {
		changed, what := slices.Clone(whole), ""
		switch i := random.IntN(len(lines)); random.IntN(4) {
		case 0:
			at, by := random.IntN(len(whole)-1), byte(1+random.IntN(255))
			changed[at] ^= by
			what = fmt.Sprintf("byte %d changed by %x", at, by)
		case 1:
			what, changed = fmt.Sprint("removed line ", i), file(slices.Delete(slices.Clone(lines), i, i+1)...)
		case 2:
			j, swapped := (i+1+random.IntN(len(lines)-1))%len(lines), slices.Clone(lines)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			what, changed = fmt.Sprintf("swapped lines %d and %d", i, j), file(swapped...)
		case 3:
			j := (i + 2 + random.IntN(len(lines)-2)) % len(lines) // what comes twice in a row, is nothing
			what, changed = fmt.Sprint("line again: ", i), file(slices.Insert(slices.Clone(lines), j, lines[i])...)
		}
		if got := verify(t, [][]byte{changed}, head); len(got.Findings) == 0 {
			t.Fatalf("%s: nothing found", what)
		}
	}
}

func TestFindings(t *testing.T) {
	a, headA := written(t, "a", 3, nil)
	b, headB := written(t, "b", 3, &headA)
	alone, _ := written(t, "b", 3, nil)
	other, _ := written(t, "a", 4, nil)
	for name, tc := range map[string]struct {
		files [][]byte
		want  string
	}{
		"cut off, and the head was kept": {
			[][]byte{file(a[:3]...), file(alone...)},
			"record 5 of writer a, of a head that was kept, is not there",
		},
		"another story": {
			[][]byte{file(other...), file(b...)},
			"record 5 of writer a is not the one of the head that was kept",
		},
		"its end cut off": {
			[][]byte{file(a[:4]...), file(b...)},
			"writer b knew of record 5 of writer a, whose chain ends with 4",
		},
		"nothing of the one before": {[][]byte{file(b...)}, "record 5 of writer a, of a head that was kept, is not there"},
		"the beginning is gone":     {[][]byte{file(a[2:]...), file(b...)}, "file-0:1: writer a begins with record 3"},
		"a file between is gone": {
			[][]byte{file(a[:2]...), file(a[3:]...), file(b...)},
			"file-1:1: records 3 to 3 of writer a are missing",
		},
		"a copy that differs": {
			[][]byte{file(a...), file(other[:5]...), file(b...)},
			"file-1:1: record 5 of writer a is in file-0, too, and is another one there",
		},
		"goes on after its end, in a copy": {
			[][]byte{file(a...), append(file(a...), `{"specversion":"1.0","lapsewriter":"a","lapsesequence":6}`...), file(b...)},
			"writer a goes on after it said that it ended",
		},
		"goes on after its end": {
			[][]byte{file(a...), file(b...), []byte(`{"specversion":"1.0","lapsewriter":"a","lapsesequence":6}`)},
			"writer a goes on after it said that it ended",
		},
		"added without a chain": {
			[][]byte{file(slices.Insert(slices.Clone(a), 2, []byte(`{"specversion":"1.0"}`))...), file(b...)},
			"file-0:3: the record has no place in a chain",
		},
	} {
		got := verify(t, tc.files, headA, headB)
		if !slices.ContainsFunc(got.Findings, func(f Finding) bool { return strings.Contains(f.String(), tc.want) }) {
			t.Errorf("%s: %q is not among %v", name, tc.want, got.Findings)
		}
	}
}

func TestAStoryThatWasWrittenAnewIsFoundByItsSuccessor(t *testing.T) {
	_, headA := written(t, "a", 3, nil)
	b, headB := written(t, "b", 3, &headA)
	other, _ := written(t, "a", 4, nil)
	got := verify(t, [][]byte{file(other...), file(b...)}, headB)
	if len(got.Findings) != 1 || !strings.Contains(got.Findings[0].Problem, "that chain was written anew") {
		t.Errorf("%+v", got)
	}
}

func TestWhatComesAfterAnEndIsFound(t *testing.T) {
	a, headA := written(t, "a", 3, nil)
	chain := &Chain{headA}
	forged, err := chain.Append(Record{SpecVersion: "1.0", Type: Approved})
	if err != nil {
		t.Fatal(err)
	}
	ended, err := chain.Append(Record{SpecVersion: "1.0", Type: WriterEnded})
	if err != nil {
		t.Fatal(err)
	}
	got := verify(t, [][]byte{file(append(a, forged, ended)...)}, headA)
	if len(got.Findings) != 1 || !strings.Contains(got.Findings[0].Problem, "goes on after it said that it ended") {
		t.Errorf("%+v", got)
	}
}

func TestAnInventedWriterIsUnclear(t *testing.T) {
	a, headA := written(t, "a", 3, nil)
	b, _ := written(t, "b", 3, &headA)
	invented, _ := written(t, "x", 3, nil)
	got := verify(t, [][]byte{file(slices.Concat(a, invented, b)...)})
	if len(got.Unclear) != 2 || !strings.Contains(got.Unclear[0].Problem, "nothing confirms writer") {
		t.Errorf("%+v", got)
	}
	// With a head of the last writer, the invented one is the only one that nothing confirms.
	b, headB := written(t, "b", 3, &headA)
	fork, _ := written(t, "x", 3, &headA)
	for name, files := range map[string][][]byte{
		"as if it were the first": slices.Concat(a, invented, b), "as if it followed a": slices.Concat(a, fork, b),
	} {
		got := verify(t, [][]byte{file(files...)}, headB)
		if len(got.Findings) > 0 || len(got.Unclear) != 1 || !strings.Contains(got.Unclear[0].Problem, "nothing confirms writer x") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestEachSinkHasAChainOfItsOwn(t *testing.T) {
	a, headA := written(t, "pod/stdout", 3, nil)
	b, headB := written(t, "pod/file", 3, nil)
	if got := verify(t, [][]byte{file(a...), file(b...)}, headA, headB); len(got.Findings)+len(got.Unclear) > 0 {
		t.Errorf("%+v", got)
	}
	if got := verify(t, [][]byte{file(a...), file(b...)}, headA); len(got.Findings)+len(got.Unclear) > 0 {
		t.Errorf("both are first ones: %+v", got)
	}
	if got := verify(t, [][]byte{file(a...)}); len(got.Findings)+len(got.Unclear) > 0 {
		t.Errorf("%+v", got)
	}
}

func TestRecordsAreFoundBetweenLinesOfALog(t *testing.T) {
	a, head := written(t, "a", 3, nil)
	log := []byte(`{"level":"info","msg":"request Active"}`)
	got := verify(t, [][]byte{file(a[0], log, a[1], []byte("panic: none"), a[2], a[3], a[4], log)}, head)
	if len(got.Findings) > 0 || got.Records != 5 || got.Others != 3 {
		t.Errorf("%+v", got)
	}
}

func TestAWriterWhoWasKilledIsSeen(t *testing.T) {
	a, _ := written(t, "a", 3, nil)
	killed := Head{Writer: "a", Sequence: 2, Hash: hashOf(a[1])}
	b, _ := written(t, "b", 3, &killed)
	if got := verify(t, [][]byte{file(a[:4]...)}); len(got.Findings) > 0 || !slices.Equal(got.Open, []string{"a"}) {
		t.Errorf("while nobody followed: %+v", got)
	}
	got := verify(t, [][]byte{file(a[:4]...), file(b...)})
	if len(got.Findings) > 0 || len(got.Unclear) != 1 || !strings.Contains(got.Unclear[0].Problem, "had not ended") {
		t.Errorf("%+v", got)
	}
	got = verify(t, [][]byte{file(b...)})
	if len(got.Findings) > 0 || len(got.Unclear) != 1 || !strings.Contains(got.Unclear[0].Problem, "of whom there is nothing") {
		t.Errorf("%+v", got)
	}
}

func TestAHeadIsSignedAndRead(t *testing.T) {
	private, public, err := note.GenerateKey(rand.Reader, "lapse.example.com")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	_, head := written(t, "lapse-manager-7d9f/2026", 3, nil)
	signed, err := head.Note(signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenHead(signed, note.VerifierList(verifier)); err != nil || got != head {
		t.Errorf("%v, %v", got, err)
	}
	forged := bytes.Replace(signed, []byte("\n5\n"), []byte("\n4\n"), 1)
	if _, err := OpenHead(forged, note.VerifierList(verifier)); err == nil || bytes.Equal(forged, signed) {
		t.Error("a head that was changed is accepted")
	}
	if _, err := OpenHead(signed, note.VerifierList()); err == nil {
		t.Error("a head of an unknown signer is accepted")
	}
}
