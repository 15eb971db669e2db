//! Axes, lines, bars and words of a plot.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 226.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 62.0;

/// What a length of an axis means.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// From 0.
    pub const fn linear(to: f64) -> Self {
        Self { from: 0.0, to, log: false }
    }

    /// As many steps of the same width as there are bars.
    pub const fn slots(count: usize) -> Self {
        Self::linear(count as f64)
    }

    /// Logarithmic, with a little room at both ends.
    pub fn log(from: f64, to: f64) -> Self {
        Self { from: from.log10(), to: to.log10(), log: true }
    }

    /// Whether a value lies on it.
    pub fn holds(&self, value: f64) -> bool {
        (0.0..=1.0).contains(&self.share(value))
    }

    fn share(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        (value - self.from) / (self.to - self.from)
    }

    /// Where lines go across, with their names.
    fn ticks(&self) -> Vec<(f64, String)> {
        if self.log {
            let decades = self.from.round() as i32..=self.to.round() as i32;
            return decades.map(|power| (10_f64.powi(power), percent(power))).collect();
        }
        (0..=5)
            .map(|step| self.to * f64::from(step) / 5.0)
            .map(|value| (value, format!("{value:.0}")))
            .collect()
    }
}

fn percent(power: i32) -> String {
    let places = usize::try_from(-power - 2).unwrap_or(0);
    format!("{:.places$} %", 10_f64.powi(power + 2))
}

/// A number, shortly.
pub fn short(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colour: &'static str,
    dashes: &'static str,
    width: f64,
}

impl Style {
    /// Of what is measured.
    pub const fn solid(colour: &'static str) -> Self {
        Self { colour, dashes: "none", width: 2.6 }
    }

    /// Of what it is compared with.
    pub const fn dashed(colour: &'static str) -> Self {
        Self { colour, dashes: "7 4", width: 1.8 }
    }

    /// Of its variants.
    pub const fn dotted(colour: &'static str) -> Self {
        Self { colour, dashes: "1.5 4", width: 2.2 }
    }
}

/// A plot that is being drawn.
#[derive(Debug)]
pub struct Chart {
    svg: String,
    x: Scale,
    y: Scale,
    legends: usize,
}

// Writing to a string does not fail: results of `writeln` are left aside throughout.
impl Chart {
    /// A plot without anything.
    pub fn new(title: &str, x: Scale, y: Scale) -> Self {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" \
             font-size=\"12.5\" fill=\"#333333\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"30\" font-size=\"17\" font-weight=\"bold\">{title}</text>\n"
        );
        Self { svg, x, y, legends: 0 }
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (
            LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM),
        )
    }

    /// The axes with their names, and the marks of the lower one.
    pub fn axes(&mut self, below: &str, marks: impl Iterator<Item = (f64, String)>, beside: &str) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, name) in self.y.ticks() {
            let y = bottom - self.y.share(value) * (bottom - TOP);
            let _ = writeln!(
                self.svg,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 9.0,
                y + 4.5
            );
        }
        for (value, name) in marks {
            let x = LEFT + self.x.share(value) * (right - LEFT);
            let _ = writeln!(
                self.svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\" stroke=\"#333333\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
                bottom + 5.0,
                bottom + 21.0
            );
        }
        let (middle, height) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _ = writeln!(
            self.svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"#333333\"/>\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{below}</text>\
             <text transform=\"translate(18 {height}) rotate(-90)\" text-anchor=\"middle\">{beside}</text>",
            HEIGHT - 16.0
        );
    }

    /// Points, joined.
    pub fn line(&mut self, points: &[(f64, f64)], style: Style) {
        let points: Vec<String> =
            points.iter().map(|point| self.at(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let Style { colour, dashes, width } = style;
        let _ = writeln!(
            self.svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-dasharray=\"{dashes}\" stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
            points.join(" ")
        );
    }

    /// Points by themselves.
    pub fn dots(&mut self, points: &[(f64, f64)], style: Style) {
        for point in points {
            let (x, y) = self.at(*point);
            let _ = writeln!(
                self.svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{}\" stroke=\"white\"/>",
                style.colour
            );
        }
    }

    /// A bar, or a part of one, in a slot of the lower axis.
    pub fn bar(&mut self, slot: usize, from: f64, to: f64, colour: &str) {
        let (left, bottom) = self.at((slot as f64 + 0.25, from));
        let (right, top) = self.at((slot as f64 + 0.75, to));
        let (width, height) = (right - left, bottom - top);
        let _ = writeln!(
            self.svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        );
    }

    /// Words above a point.
    pub fn label(&mut self, x: f64, y: f64, words: &str) {
        let (x, y) = self.at((x, y));
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-weight=\"bold\">{words}</text>",
            y - 6.0
        );
    }

    /// What a style stands for.
    pub fn legend(&mut self, words: &str, style: Style) {
        let (x, y) = (WIDTH - RIGHT + 18.0, TOP + 8.0 + 22.0 * self.legends as f64);
        self.legends += 1;
        let Style { colour, dashes, width } = style;
        let _ = writeln!(
            self.svg,
            "<line x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"{}\">{words}</text>",
            x + 26.0,
            x + 34.0,
            y + 4.5
        );
    }

    /// The whole of it.
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}
