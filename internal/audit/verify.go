// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// Verifier reads what writers wrote, in any number of files, and finds what was changed.
type Verifier struct {
	kept     []Head
	runs     map[string][]*run
	findings []Finding
	records  int
	others   int
}

// Finding is one thing that is wrong.
type Finding struct {
	// File and Line where it shows; Line is 0 where it shows at no line.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Problem, in words.
	Problem string `json:"problem"`
}

func (f Finding) String() string {
	switch {
	case f.File == "":
		return f.Problem
	case f.Line == 0:
		return f.File + ": " + f.Problem
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Problem)
}

// Verification is what was found.
type Verification struct {
	// Records that were read, and Others: lines that are none, such as those of a log.
	Records int `json:"records"`
	Others  int `json:"others"`
	// Findings, none if all is as it was written.
	Findings []Finding `json:"findings,omitempty"`
	// Unclear is what may have been done to records, and may have happened by itself: a writer
	// was killed, or there is nothing of one that is known to have been.
	Unclear []Finding `json:"unclear,omitempty"`
	// Open are writers that did not say that they ended: they write still, were killed, or
	// what they wrote last was cut off. Keep their heads to tell.
	Open []string `json:"open,omitempty"`
	// Heads are the last records of all writers.
	Heads []Head `json:"heads"`
}

// run is a part of a chain that one file has without a gap.
type run struct {
	file        string
	first, last linked
	line        int // of the first record
	hashes      [][hashPrefix]byte
	began       *Began
	ended       bool
}

// hashPrefix is how much is remembered of the hash of each record, to compare it with what is
// known of it elsewhere: nobody finds another record with the same.
const hashPrefix = 16

type linked struct {
	Link
	hash string
}

// NewVerifier compares what it reads with heads that were kept elsewhere, too.
func NewVerifier(kept ...Head) *Verifier {
	return &Verifier{kept: kept, runs: map[string][]*run{}}
}

// Read one file. An error means that it could not be read; what is wrong with what it says is
// a finding.
func (v *Verifier) Read(file string, r io.Reader) error {
	open := map[string]*run{} // by writer
	return eachLine(file, r, func(n int, line []byte) { v.line(open, file, n, line) })
}

func (v *Verifier) line(open map[string]*run, file string, n int, line []byte) {
	finding := func(format string, args ...any) {
		v.findings = append(v.findings, Finding{file, n, fmt.Sprintf(format, args...)})
	}
	var r struct {
		Link
		Type Type   `json:"type"`
		Spec string `json:"specversion"`
		Data struct {
			Began *Began `json:"writer"`
		} `json:"data"`
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Spec == "" {
		v.others++ // a record of which this was made is missed by the one after it
		return
	}
	v.records++
	if r.Writer == "" || r.Sequence < 1 {
		finding("the record has no place in a chain: lapsewriter is %q, lapsesequence %d", r.Writer, r.Sequence)
		return
	}
	at := linked{r.Link, hashOf(line)}
	before := open[r.Writer]
	switch {
	case before == nil:
	case at == before.last:
		return // written again, since nobody answered that it was there
	case before.ended:
		finding("writer %s goes on after it said that it ended", r.Writer)
	case r.Sequence != before.last.Sequence+1:
		finding("record %d of writer %s comes after record %d: what was in between was removed, or records were moved", r.Sequence, r.Writer, before.last.Sequence)
		before = nil
	case r.Previous != before.last.hash:
		finding("record %d of writer %s was changed: record %d has another hash of it", before.last.Sequence, r.Writer, r.Sequence)
	}
	if before == nil {
		before = &run{file: file, line: n, first: at}
		open[r.Writer], v.runs[r.Writer] = before, append(v.runs[r.Writer], before)
	}
	if r.Sequence == 1 {
		before.began = r.Data.Began
	}
	before.last, before.ended = at, r.Type == WriterEnded
	before.hashes = append(before.hashes, prefixOf(at.hash))
}

func prefixOf(hash string) (prefix [hashPrefix]byte) {
	sum, err := hex.DecodeString(hash)
	if err == nil {
		copy(prefix[:], sum)
	}
	return prefix
}

// differs says whether a record is there, and is another one than a head says.
func (v *Verifier) differs(head Head) *run {
	for _, r := range v.runs[head.Writer] {
		if i := head.Sequence - r.first.Sequence; i >= 0 && i < int64(len(r.hashes)) && r.hashes[i] != prefixOf(head.Hash) {
			return r
		}
	}
	return nil
}

// Result of all that was read.
func (v *Verifier) Result() Verification {
	out := Verification{Records: v.records, Others: v.others, Findings: v.findings}
	finding := func(r *run, format string, args ...any) {
		out.Findings = append(out.Findings, Finding{File: r.file, Line: r.line, Problem: fmt.Sprintf(format, args...)})
	}
	last := map[string]*run{}
	for writer, runs := range v.runs {
		slices.SortStableFunc(runs, func(a, b *run) int { return cmp.Compare(a.first.Sequence, b.first.Sequence) })
		last[writer] = joined(runs, finding)
		out.Heads = append(out.Heads, Head{writer, last[writer].last.Sequence, last[writer].last.hash})
		if !last[writer].ended {
			out.Open = append(out.Open, writer)
		}
	}
	unclear := func(r *run, format string, args ...any) {
		out.Unclear = append(out.Unclear, Finding{File: r.file, Line: r.line, Problem: fmt.Sprintf(format, args...)})
	}
	for writer, runs := range v.runs {
		v.succeeds(writer, runs[0], last, finding, unclear)
	}
	v.unconfirmed(unclear)
	for _, head := range v.kept {
		if r, there := last[head.Writer]; !there || r.last.Sequence < head.Sequence {
			out.Findings = append(out.Findings, Finding{Problem: fmt.Sprintf(
				"record %d of writer %s, of a head that was kept, is not there: its chain was cut off", head.Sequence, head.Writer)})
		} else if r := v.differs(head); r != nil {
			finding(r, "record %d of writer %s is not the one of the head that was kept", head.Sequence, head.Writer)
		}
	}
	slices.Sort(out.Open)
	slices.SortFunc(out.Heads, func(a, b Head) int { return cmp.Compare(a.Writer, b.Writer) })
	slices.SortStableFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return out
}

// joined compares where one file ends and another one goes on, and returns the run that goes
// furthest. What is there again, as in a file beside its packed copy, is taken once.
func joined(runs []*run, finding func(*run, string, ...any)) (end *run) {
	switch r := runs[0]; {
	case r.first.Sequence != 1:
		finding(r, "writer %s begins with record %d: those before were removed", r.first.Writer, r.first.Sequence)
	case r.began == nil || r.first.Previous != "":
		finding(r, "record 1 of writer %s is not the beginning of a chain: it was changed or added", r.first.Writer)
	}
	end = runs[0]
	for _, r := range runs[1:] {
		writer, first, last := r.first.Writer, r.first, end.last
		if first.Sequence <= last.Sequence {
			if n := r.differsAt(end); n > 0 {
				finding(r, "record %d of writer %s is in %s, too, and is another one there: one of them was changed", n, writer, end.file)
			}
			if r.last.Sequence > last.Sequence {
				end = r
			}
			continue
		}
		switch {
		case first.Sequence != last.Sequence+1:
			finding(r, "records %d to %d of writer %s are missing", last.Sequence+1, first.Sequence-1, writer)
		case first.Previous != last.hash:
			finding(r, "record %d of writer %s was changed: record %d has another hash of it", last.Sequence, writer, first.Sequence)
		}
		if end.ended {
			finding(r, "writer %s goes on after it said that it ended", writer)
		}
		end = r
	}
	return end
}

// differsAt is the number of the first record that another run, which begins no later, has
// otherwise; 0 if there is none.
func (r *run) differsAt(other *run) int64 {
	for i, hash := range r.hashes {
		if n := r.first.Sequence + int64(i); n <= other.last.Sequence && other.hashes[n-other.first.Sequence] != hash {
			return n
		}
	}
	return 0
}

// succeeds compares a writer with what it knew of the one before.
func (v *Verifier) succeeds(writer string, first *run, last map[string]*run, finding, unclear func(*run, string, ...any)) {
	if first.began == nil || first.began.Predecessor == nil {
		return
	}
	known := first.began.Predecessor
	switch before := last[known.Writer]; {
	case before == nil:
		unclear(first, "writer %s began after writer %s, of whom there is nothing", writer, known.Writer)
	case before.last.Sequence < known.Sequence:
		finding(first, "writer %s knew of record %d of writer %s, whose chain ends with %d: it was cut off", writer, known.Sequence, known.Writer, before.last.Sequence)
	case v.differs(*known) != nil:
		finding(first, "writer %s knew of another record %d of writer %s: that chain was written anew", writer, known.Sequence, known.Writer)
	case !before.ended:
		unclear(first, "writer %s began, and writer %s before it had not ended: it was killed, or its end was cut off", writer, known.Writer)
	}
}

// unconfirmed are writers that nobody began after and no head is kept of. One may be, the last, if
// it is the only one that followed the one before.
func (v *Verifier) unconfirmed(unclear func(*run, string, ...any)) {
	confirmed, followers := sets.New[string](), map[place]int{}
	for _, head := range v.kept {
		confirmed.Insert(head.Writer)
	}
	for _, runs := range v.runs {
		after := placeOf(runs[0])
		confirmed.Insert(after.before)
		followers[after]++
	}
	var alone []*run
	for writer, runs := range v.runs {
		if !confirmed.Has(writer) {
			alone = append(alone, runs[0])
		}
	}
	for _, r := range alone {
		if len(alone) > 1 || followers[placeOf(r)] > 1 {
			unclear(r, "nothing confirms writer %s: no other began after it, and no head of it was kept; it may have been killed in its first minute, or be invented", r.first.Writer)
		}
	}
}

// place of a chain: after that of another writer, which is empty for the first one, and of the same
// sink, whose name is the end of each writer's.
type place struct{ before, sink string }

func placeOf(r *run) place {
	p := place{}
	if i := strings.LastIndex(r.first.Writer, "/"); i >= 0 {
		p.sink = r.first.Writer[i:]
	}
	if r.began != nil && r.began.Predecessor != nil {
		p.before = r.began.Predecessor.Writer
	}
	return p
}
