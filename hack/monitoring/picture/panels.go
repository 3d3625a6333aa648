// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

var (
	red, green, blue = color.RGBA{0xe0, 0x2f, 0x44, 0xff}, color.RGBA{0x37, 0x87, 0x2d, 0xff}, color.RGBA{0x1f, 0x60, 0xc4, 0xff}
	yellow, violet   = color.RGBA{0xe0, 0xb4, 0x00, 0xff}, color.RGBA{0x8f, 0x3b, 0xb8, 0xff}

	// named are the colours of thresholds, and inTurn those of series.
	named  = map[string]color.Color{"red": red, "green": green, "blue": blue}
	inTurn = []color.Color{green, yellow, blue, red, violet, color.Gray{Y: 0x70}}
)

const small, large, huge = vg.Length(7), vg.Length(9), vg.Length(26)

func style(size vg.Length, c color.Color) draw.TextStyle {
	return draw.TextStyle{
		Color: c, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size), Handler: plot.DefaultTextHandler,
	}
}

// title is in the upper left corner. It returns what is left below.
func (p *panel) title(c draw.Canvas) draw.Canvas {
	text := style(large, color.Black)
	text.YAlign = draw.YTop
	c.FillText(text, vg.Point{X: c.Min.X + 2*gap, Y: c.Max.Y - gap}, p.Title)
	return draw.Crop(c, 2*gap, -2*gap, gap, -large-3*gap)
}

// says something in the middle.
func says(c draw.Canvas, size vg.Length, colour color.Color, what string) {
	text := style(size, colour)
	text.XAlign, text.YAlign = draw.XCenter, draw.YCenter
	c.FillText(text, c.Center(), what)
}

// last value of some series.
func last(all []series) (value float64, is bool) {
	for _, s := range all {
		if n := len(s.points); n > 0 {
			return s.points[n-1].Y, true
		}
	}
	return 0, false
}

// number is the last value, in the colour of the last threshold that it has reached.
func (p *panel) number(c draw.Canvas, all []series) {
	c = p.title(c)
	value, is := last(all)
	if !is {
		says(c, large, color.Black, "No data")
		return
	}
	colour := color.Color(color.Black)
	for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value == nil || value >= *step.Value {
			colour = named[step.Color]
		}
	}
	says(c, huge, colour, strconv.FormatFloat(value, 'f', -1, 64))
}

// chart draws lines, or bars one upon the other, over time.
func (p *panel) chart(c draw.Canvas, all []series) error {
	c = legend(p.title(c), all)
	if _, is := last(all); !is {
		says(c, large, color.Black, "No data")
		return nil
	}
	graph := plot.New()
	graph.Y.Label.Text = map[string]string{"s": "seconds", "bytes": "MiB"}[p.FieldConfig.Defaults.Unit]
	graph.X.Tick.Marker = plot.TimeTicks{Format: "15:04:05", Time: plot.UTCUnixTime}
	for _, text := range []*draw.TextStyle{&graph.X.Tick.Label, &graph.Y.Tick.Label, &graph.Y.Label.TextStyle} {
		text.Font = style(small, nil).Font
	}
	graph.Add(plotter.NewGrid())
	below := map[float64]float64{} // at each time, for bars
	for i, s := range all {
		colour := inTurn[i%len(inTurn)]
		switch {
		case len(s.points) == 0:
		case p.FieldConfig.Defaults.Custom.DrawStyle == "bars":
			graph.Add(bars(s, below, colour))
		default:
			line, err := plotter.NewLine(s.points)
			if err != nil {
				return err
			}
			line.Color, line.Width = colour, vg.Points(1.2)
			graph.Add(line)
		}
	}
	graph.Y.Min = min(graph.Y.Min, 0)
	graph.Y.Max = max(graph.Y.Max, graph.Y.Min+1e-3)
	graph.Draw(c)
	return nil
}

// bars upon what is below.
func bars(s series, below map[float64]float64, colour color.Color) *plotter.Polygon {
	half := 1.0
	if len(s.points) > 1 {
		half = (s.points[1].X - s.points[0].X) * 0.4
	}
	out := &plotter.Polygon{Color: colour}
	for _, at := range s.points {
		from, to := below[at.X], below[at.X]+at.Y
		below[at.X] = to
		out.XYs = append(out.XYs, plotter.XYs{{X: at.X - half, Y: from}, {X: at.X + half, Y: from}, {X: at.X + half, Y: to}, {X: at.X - half, Y: to}})
	}
	return out
}

// legend is below. It returns what is left above.
func legend(c draw.Canvas, all []series) draw.Canvas {
	at := vg.Point{X: c.Min.X + 6*gap, Y: c.Min.Y}
	text := style(small, color.Black)
	for i, s := range all {
		square := vg.Rectangle{Min: at, Max: at.Add(vg.Point{X: small, Y: small / 2})}
		c.SetColor(inTurn[i%len(inTurn)])
		c.Fill(square.Path())
		at.X += small + gap
		c.FillText(text, at, s.name)
		at.X += text.Width(s.name) + 3*gap
	}
	return draw.Crop(c, 0, 0, small+2*gap, 0)
}
