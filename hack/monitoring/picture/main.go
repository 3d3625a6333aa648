// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command picture draws the dashboard of config/monitoring with what a Prometheus answered to its
// queries. It is not Grafana, of which nothing can be had as a library that draws panels: it knows
// the kinds of panels and the options that are in this dashboard, and puts them where it says.
//
//	picture dashboard.json values.json dashboard.png
//
// The values are by query, as the API of Prometheus gives them for a range of time.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"regexp"
	"strconv"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// dashboard is what is read of one.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Title, Type string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []threshold }
			Custom     struct{ DrawStyle string }
		}
	}
}

// threshold is a colour from a value on; from all values on, if there is none.
type threshold struct {
	Color string
	Value *float64
}

// answer is a series of Prometheus.
type answer struct {
	Metric map[string]string
	Values [][2]any
}

// series of a panel, with the name that its legend has.
type series struct {
	name   string
	points plotter.XYs
}

// A unit of Grafana's grid, of which 24 are side by side, and what is left free around a panel.
const (
	unitWidth, unitHeight = vg.Length(36), vg.Length(20)
	columns               = 24
	gap                   = vg.Length(3)
	dpi                   = 120
)

func main() {
	if len(os.Args) != 4 {
		exit(errors.New("usage: picture dashboard.json values.json dashboard.png"))
	}
	var board dashboard
	values := map[string][]answer{}
	exit(errors.Join(read(os.Args[1], &board), read(os.Args[2], &values)))
	picture, err := paint(&board, values)
	exit(err)
	file, err := os.Create(os.Args[3])
	exit(err)
	_, err = vgimg.PngCanvas{Canvas: picture}.WriteTo(file)
	exit(errors.Join(err, file.Close()))
}

// exit if there is an error.
func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// paint all panels, each where the dashboard has it.
func paint(board *dashboard, values map[string][]answer) (*vgimg.Canvas, error) {
	rows := 0
	for i := range board.Panels {
		rows = max(rows, board.Panels[i].GridPos.Y+board.Panels[i].GridPos.H)
	}
	width, height := columns*unitWidth, vg.Length(rows)*unitHeight
	picture := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.Gray{Y: 0xe4}))
	for i := range board.Panels {
		p := &board.Panels[i]
		at := p.GridPos
		c := draw.Crop(draw.New(picture), vg.Length(at.X)*unitWidth+gap, vg.Length(at.X+at.W-columns)*unitWidth-gap,
			vg.Length(rows-at.Y-at.H)*unitHeight+gap, -vg.Length(at.Y)*unitHeight-gap)
		c.SetColor(color.White)
		c.Fill(c.Rectangle.Path())
		all, err := p.series(values)
		if err != nil {
			return nil, fmt.Errorf("panel %s: %w", p.Title, err)
		}
		if p.Type == "stat" {
			p.number(c, all)
		} else if err := p.chart(c, all); err != nil {
			return nil, fmt.Errorf("panel %s: %w", p.Title, err)
		}
	}
	return picture, nil
}

var label = regexp.MustCompile(`{{(\w+)}}`)

// series of all queries of a panel. What is no number is left out, as where a quantile is of
// nothing.
func (p *panel) series(values map[string][]answer) (all []series, err error) {
	for _, target := range p.Targets {
		answers, ok := values[target.Expr]
		if !ok {
			return nil, fmt.Errorf("nothing was asked by %s", target.Expr)
		}
		for _, a := range answers {
			one := series{name: label.ReplaceAllStringFunc(target.LegendFormat, func(s string) string { return a.Metric[s[2:len(s)-2]] })}
			for _, v := range a.Values {
				at, isTime := v[0].(float64)
				text, isText := v[1].(string)
				y, err := strconv.ParseFloat(text, 64)
				if !isTime || !isText || err != nil {
					return nil, fmt.Errorf("%v is no value", v)
				}
				if p.FieldConfig.Defaults.Unit == "bytes" {
					y /= 1 << 20 // told in MiB
				}
				if !math.IsNaN(y) && !math.IsInf(y, 0) {
					one.points = append(one.points, plotter.XY{X: at, Y: y})
				}
			}
			all = append(all, one)
		}
	}
	return all, nil
}
