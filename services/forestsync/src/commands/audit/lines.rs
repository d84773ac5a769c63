//! What is different between two documents, line by line.

/// A line of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Only in the first one.
    Removed(&'a str),
    /// Only in the second one.
    Added(&'a str),
    /// In both.
    Same(&'a str),
}

/// Documents with more lines than this in the part that differs are shown as replaced whole.
const MOST: usize = 4_000;

/// The lines of two documents in one order.
pub fn difference<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let front = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a_rest, b_rest) = (a.get(front..).unwrap_or_default(), b.get(front..).unwrap_or_default());
    let back = a_rest.iter().rev().zip(b_rest.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a_mid, b_mid) = (&a_rest[..a_rest.len() - back], &b_rest[..b_rest.len() - back]);
    let mut all: Vec<Line<'a>> = a.iter().take(front).map(|line| Line::Same(line)).collect();
    if a_mid.len() > MOST || b_mid.len() > MOST {
        all.extend(a_mid.iter().map(|line| Line::Removed(line)));
        all.extend(b_mid.iter().map(|line| Line::Added(line)));
    } else {
        all.extend(longest(a_mid, b_mid));
    }
    all.extend(a_rest.iter().skip(a_mid.len()).map(|line| Line::Same(line)));
    all
}

/// By the longest common sequence.
fn longest<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<Line<'a>> {
    let width = b.len() + 1;
    let mut lengths = vec![0_u32; (a.len() + 1) * width];
    for (i, x) in a.iter().enumerate().rev() {
        for (j, y) in b.iter().enumerate().rev() {
            let below = (i + 1) * width + j;
            lengths[i * width + j] =
                if x == y { lengths[below + 1] + 1 } else { lengths[below].max(lengths[i * width + j + 1]) };
        }
    }
    let (mut i, mut j, mut all) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            all.push(Line::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) {
            all.push(Line::Removed(a[i]));
            i += 1;
        } else {
            all.push(Line::Added(b[j]));
            j += 1;
        }
    }
    all
}

/// The lines that differ, each with its sign.
pub fn changed(old: &str, new: &str) -> Vec<String> {
    let shown = |line| match line {
        Line::Removed(line) => Some(format!("- {line}")),
        Line::Added(line) => Some(format!("+ {line}")),
        Line::Same(_) => None,
    };
    difference(old, new).into_iter().filter_map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(changed("a\nb\nc\nd", "a\nc\nx\nd\ne"), ["- b", "+ x", "+ e"]);
        assert_eq!(changed("", "a"), ["+ a"]);
        assert_eq!(changed("a\nb", "a\nb"), Vec::<String>::new());
    }

    #[test]
    fn both_documents_can_be_read_out_of_it() {
        let documents = ["", "a", "a\nb\na\nb", "b\na\nc\na", "c\nc\nb", "x\na\nb\ny"];
        for old in documents {
            for new in documents {
                let all = difference(old, new);
                let one = all.iter().filter_map(|l| match l {
                    Line::Removed(l) | Line::Same(l) => Some(*l),
                    Line::Added(_) => None,
                });
                assert!(one.eq(old.lines()), "{old:?} {new:?}");
                let other = all.iter().filter_map(|l| match l {
                    Line::Added(l) | Line::Same(l) => Some(*l),
                    Line::Removed(_) => None,
                });
                assert!(other.eq(new.lines()), "{old:?} {new:?}");
            }
        }
    }
}
