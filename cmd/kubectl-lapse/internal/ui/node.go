// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"io"
	"net/url"
	"slices"

	"golang.org/x/net/html"

	"github.com/lapse-dev/lapse/internal/text"
)

// Part is a piece of a page: an element, a text, or an attribute of the element around it.
type Part func(parent *html.Node)

// El is an element. Its name is a constant, never what somebody wrote.
func El(name string, parts ...Part) Part {
	return func(parent *html.Node) {
		node := &html.Node{Type: html.ElementNode, Data: name}
		for _, part := range parts {
			part(node)
		}
		parent.AppendChild(node)
	}
}

// Attr is an attribute. Its name is a constant, never what somebody wrote.
func Attr(name, value string) Part {
	return func(parent *html.Node) {
		parent.Attr = append(parent.Attr, html.Attribute{Key: name, Val: text.Printable(value, "")})
	}
}

// Class is the attribute by which the style sheet finds an element.
func Class(name string) Part { return Attr("class", name) }

// Text is words of ours, with a mark for what cannot be seen.
func Text(words string) Part {
	return func(parent *html.Node) {
		parent.AppendChild(&html.Node{Type: html.TextNode, Data: text.Printable(words, "")})
	}
}

// Said is what somebody wrote: on one line, with a mark for what cannot be seen, and so that a
// script that is written from right to left does not turn our words around.
func Said(words string) Part { return El("bdi", Text(text.Line(words))) }

// If leaves parts out unless a condition holds.
func If(holds bool, parts ...Part) Part {
	if !holds {
		return All()
	}
	return All(parts...)
}

// All are several parts as one.
func All(parts ...Part) Part {
	return func(parent *html.Node) {
		for _, part := range parts {
			part(parent)
		}
	}
}

// Link leads to a page of ours, whose path is a constant.
func Link(path string, query url.Values, parts ...Part) Part {
	return El("a", Attr("href", Address(path, query)), All(parts...))
}

// Address of a page of ours. It is relative: pages are next to each other.
func Address(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// Hidden is a value that a form sends with what people fill in.
func Hidden(name, value string) Part {
	return El("input", Attr("type", "hidden"), Attr("name", name), Attr("value", value))
}

// Render writes a page: what is in its head, and in its body.
func Render(w io.Writer, head, body []Part) error {
	root := &html.Node{Type: html.DocumentNode}
	root.AppendChild(&html.Node{Type: html.DoctypeNode, Data: "html"})
	meta := []Part{
		El("meta", Attr("charset", "utf-8")),
		El("meta", Attr("name", "viewport"), Attr("content", "width=device-width, initial-scale=1")),
	}
	El("html", Attr("lang", "en"), El("head", slices.Concat(meta, head)...), El("body", body...))(root)
	return html.Render(w, root)
}
