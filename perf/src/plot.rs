//! A plot of cycles over connections, as SVG.

use std::fmt::Write as _;

use crate::report::{Report, Row};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = ["#888888", "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7"];

struct Line {
    name: String,
    points: Vec<(u64, f64)>,
}

struct Axes {
    flows: (f64, f64),
    most: f64,
}

impl Axes {
    fn x(&self, flows: u64) -> f64 {
        let (low, high) = self.flows;
        LEFT + ((flows as f64).log10() - low) / (high - low).max(0.1) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, cycles: f64) -> f64 {
        HEIGHT - BOTTOM - cycles / self.most * (HEIGHT - TOP - BOTTOM)
    }
}

/// Established forwarding and its floors over the number of connections; nothing if there are no such rows.
pub fn established(report: &Report) -> Option<String> {
    let lines = lines(report);
    let flows = || lines.iter().flat_map(|line| &line.points).map(|(flows, _)| (*flows as f64).log10());
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, cycles)| *cycles).fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let axes = Axes {
        flows: (flows().fold(f64::INFINITY, f64::min), flows().fold(0.0, f64::max)),
        most: (most / 50.0).ceil() * 50.0,
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">Cycles per packet over connections</text>\n"
    );
    draw_axes(&mut svg, &axes, &lines);
    for (number, line) in lines.iter().enumerate() {
        draw_line(&mut svg, &axes, line, number);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn lines(report: &Report) -> Vec<Line> {
    let rows = || report.rows.iter().filter(|row| row.name == "established");
    let of = |name: &str, value: &dyn Fn(&Row) -> Option<f64>, proto: &str| Line {
        name: name.to_owned(),
        points: rows()
            .filter(|row| row.proto == proto)
            .filter_map(|row| Some((row.flows, value(row)?)))
            .collect(),
    };
    let mut lines = vec![
        of("rx + tx", &|row| row.reference.rx_tx, "tcp4"),
        of("rte_hash floor", &|row| row.reference.rte_hash_floor, "tcp4"),
        of("bucket floor", &|row| row.reference.bucket_floor, "tcp4"),
    ];
    for proto in ["tcp4", "udp4", "tcp6"] {
        lines.push(of(&format!("Turnpike, {proto}"), &|row| Some(row.cycles), proto));
    }
    lines.retain(|line| !line.points.is_empty());
    lines
}

fn draw_axes(svg: &mut String, axes: &Axes, lines: &[Line]) {
    let right = WIDTH - RIGHT;
    for step in 0..=5 {
        let cycles = axes.most * f64::from(step) / 5.0;
        let y = axes.y(cycles);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{cycles:.0}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    let mut counts: Vec<u64> = lines.iter().flat_map(|line| &line.points).map(|(flows, _)| *flows).collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            axes.x(count),
            HEIGHT - BOTTOM + 22.0,
            short(count)
        );
    }
}

fn short(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}

fn draw_line(svg: &mut String, axes: &Axes, line: &Line, number: usize) {
    let colour = COLOURS[number % COLOURS.len()];
    let points: Vec<String> = line
        .points
        .iter()
        .map(|(flows, cycles)| format!("{:.1},{:.1}", axes.x(*flows), axes.y(*cycles)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        points.join(" ")
    );
    for (flows, cycles) in &line.points {
        let (x, y) = (axes.x(*flows), axes.y(*cycles));
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
    let y = TOP + 20.0 * number as f64;
    let x = WIDTH - RIGHT + 20.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
         <text x=\"{}\" y=\"{}\">{}</text>",
        x + 20.0,
        x + 28.0,
        y + 4.0,
        line.name
    );
}
