// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	words "github.com/lapse-dev/lapse/internal/text"
)

// Chain links the records of one writer: each carries the hash of the one before.
type Chain struct{ head Head }

// Head is the last record of a chain, by which all before it can be checked.
type Head struct {
	Writer   string `json:"writer"`
	Sequence int64  `json:"sequence"`
	// Hash of the line of that record.
	Hash string `json:"hash"`
}

// NewChain is empty.
func NewChain(writer string) *Chain { return &Chain{Head{Writer: writer}} }

// Head of what was appended so far.
func (c *Chain) Head() Head { return c.head }

// Append makes a record the next one, and returns its line, without the newline. People read
// such lines on terminals: what cannot be seen is escaped.
func (c *Chain) Append(r Record) ([]byte, error) {
	r.Link = Link{Writer: c.head.Writer, Sequence: c.head.Sequence + 1, Previous: c.head.Hash}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.ID, err)
	}
	line = []byte(words.JSON(string(line)))
	c.head.Sequence, c.head.Hash = r.Sequence, hashOf(line)
	return line, nil
}

// hashOf a line. It is of its bytes and not of what they mean, so that no change is too small.
func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// headTitle is the first line of a signed head.
const headTitle = "lapse records"

// Note is a head to keep: a signed note of golang.org/x/mod/sumdb/note or, without a signer,
// its text alone.
func (h Head) Note(by note.Signer) ([]byte, error) {
	if by == nil {
		return []byte(h.text()), nil
	}
	return note.Sign(&note.Note{Text: h.text()}, by)
}

func (h Head) text() string {
	return fmt.Sprintf("%s\n%s\n%d\n%s\n", headTitle, h.Writer, h.Sequence, h.Hash)
}

// OpenHead reads a signed head. An error means that none of the verifiers knows its signature.
func OpenHead(signed []byte, known note.Verifiers) (Head, error) {
	n, err := note.Open(signed, known)
	if err != nil {
		return Head{}, fmt.Errorf("signed head: %w", err)
	}
	return ParseHead(n.Text)
}

// ParseHead reads the text of a head.
func ParseHead(unsigned string) (Head, error) {
	lines := strings.Split(unsigned, "\n")
	if len(lines) != 5 || lines[0] != headTitle || lines[4] != "" {
		return Head{}, errors.New("this is no head of lapse records")
	}
	sequence, err := strconv.ParseInt(lines[2], 10, 64)
	if err != nil {
		return Head{}, fmt.Errorf("head of lapse records: %w", err)
	}
	return Head{Writer: lines[1], Sequence: sequence, Hash: lines[3]}, nil
}
