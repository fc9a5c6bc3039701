package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Plots are drawn by hand: two kinds, bars and lines, as SVG that reads on light and dark ground.

// bars are groups of horizontal bars, one colour a series.
type bars struct {
	title string
	unit  string  // said below the axis
	mark  float64 // a line across all groups; 0: none
	rows  []barGroup
}

type barGroup struct {
	label string
	bars  []bar
}

type bar struct {
	series string
	value  float64
	tick   float64 // a mark of its own; 0: none
}

// palette has colours that differ for most people who see few of them.
var palette = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999"}

const (
	plotWidth  = 860
	labelWidth = 230
	barHeight  = 12
	groupGap   = 8
	plotTop    = 46
)

// seriesOf lists the series in the order they first appear.
func (b bars) seriesOf() (names []string) {
	for _, g := range b.rows {
		for _, x := range g.bars {
			if !slices.Contains(names, x.series) {
				names = append(names, x.series)
			}
		}
	}
	return names
}

// svg draws the bars.
func (b bars) svg() string {
	names, most := b.seriesOf(), b.mark
	height := plotTop
	for _, g := range b.rows {
		height += len(g.bars)*barHeight + groupGap
		for _, x := range g.bars {
			most = max(most, x.value, x.tick)
		}
	}
	bottom := height
	height += 34
	step, end := scale(most)
	c := canvas{width: plotWidth, height: height}
	at := func(v float64) float64 { return labelWidth + v/end*(plotWidth-labelWidth-60) }
	c.open(b.title, names)
	for v := 0.0; v <= end+step/2; v += step {
		c.line(at(v), plotTop-4, at(v), float64(bottom), "#8886", 1)
		c.text(at(v), float64(bottom)+14, "middle", tickText(v, step))
	}
	c.text(plotWidth-8, float64(bottom)+30, "end", b.unit)
	y := float64(plotTop)
	for _, g := range b.rows {
		c.text(labelWidth-8, y+float64(len(g.bars)*barHeight)/2+4, "end", g.label)
		for _, x := range g.bars {
			c.rect(labelWidth, y+1, at(x.value)-labelWidth, barHeight-2, colour(names, x.series))
			if x.tick > 0 {
				c.line(at(x.tick), y, at(x.tick), y+barHeight, "#888", 2)
			}
			c.text(at(x.value)+4, y+barHeight-2, "start", figure(x.value))
			y += barHeight
		}
		y += groupGap
	}
	if b.mark > 0 {
		c.line(at(b.mark), plotTop-4, at(b.mark), float64(bottom), "#d55e00", 1.5)
	}
	return c.close()
}

// lines are curves over one axis.
type lines struct {
	title, x, y string
	series      []curve
}

type curve struct {
	name   string
	points [][2]float64 // by x
}

// svg draws the curves.
func (l lines) svg() string {
	const left, right, top, bottom = 70, plotWidth - 30, plotTop + 4, 360
	var names []string
	var mostX, mostY float64
	for _, s := range l.series {
		names = append(names, s.name)
		for _, p := range s.points {
			mostX, mostY = max(mostX, p[0]), max(mostY, p[1])
		}
	}
	stepX, endX := scale(mostX)
	stepY, endY := scale(mostY)
	at := func(p [2]float64) (x, y float64) {
		return left + p[0]/endX*(right-left), bottom - p[1]/endY*(bottom-top)
	}
	c := canvas{width: plotWidth, height: bottom + 50}
	c.open(l.title, names)
	for v := 0.0; v <= endX+stepX/2; v += stepX {
		x, _ := at([2]float64{v, 0})
		c.text(x, bottom+16, "middle", tickText(v, stepX))
	}
	for v := 0.0; v <= endY+stepY/2; v += stepY {
		_, y := at([2]float64{0, v})
		c.line(left, y, right, y, "#8886", 1)
		c.text(left-6, y+4, "end", tickText(v, stepY))
	}
	c.text(right, bottom+36, "end", l.x)
	c.text(left-60, top-8, "start", l.y)
	for _, s := range l.series {
		for i, p := range s.points {
			x, y := at(p)
			fmt.Fprintf(&c.b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x, y, colour(names, s.name))
			if i > 0 {
				fromX, fromY := at(s.points[i-1])
				c.line(fromX, fromY, x, y, colour(names, s.name), 2)
			}
		}
	}
	return c.close()
}

// scale gives round steps for an axis that reaches most, and its end.
func scale(most float64) (step, end float64) {
	if most <= 0 {
		return 1, 1
	}
	step = math.Pow(10, math.Floor(math.Log10(most/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if most/(step*m) <= 6 {
			step *= m
			break
		}
	}
	return step, step * math.Ceil(most/step-1e-9)
}

// tickText prints a value of an axis with as many digits as its steps need.
func tickText(v, step float64) string {
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	return fmt.Sprintf("%.*f", digits, v)
}

func colour(names []string, name string) string {
	return palette[max(0, slices.Index(names, name))%len(palette)]
}

// canvas gathers an SVG's elements.
type canvas struct {
	b             strings.Builder
	width, height int
}

// open begins the picture: title, and what each colour is.
func (c *canvas) open(title string, names []string) {
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n",
		c.width, c.height, c.width, c.height)
	c.b.WriteString("<style>text{fill:#222}.ground{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}.ground{fill:#161616}}</style>\n")
	fmt.Fprintf(&c.b, `<rect class="ground" width="%d" height="%d"/>`, c.width, c.height)
	fmt.Fprintf(&c.b, `<text x="8" y="16" font-size="13" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	x := 8.0
	for _, name := range names {
		c.rect(x, 24, 10, 10, colour(names, name))
		c.text(x+14, 33, "start", name)
		x += 30 + 6.5*float64(len(name))
	}
}

func (c *canvas) close() string {
	c.b.WriteString("</svg>\n")
	return c.b.String()
}

func (c *canvas) line(x1, y1, x2, y2 float64, stroke string, width float64) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, stroke, width)
}

func (c *canvas) rect(x, y, width, height float64, fill string) {
	fmt.Fprintf(&c.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, max(width, 0), height, fill)
}

func (c *canvas) text(x, y float64, anchor, text string) {
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}
