//! Tests of the language: every function by a table, the syntax, and what holds for any expression.

mod codes;
mod map;
mod properties;
mod support;
mod syntax;
mod texts;
mod values;

use super::functions;

#[test]
fn every_function_has_a_test_and_a_line_of_help() {
    let mut tested: Vec<&str> = [codes::NAMES, texts::NAMES, values::NAMES].concat();
    tested.sort_unstable();
    let all = functions::all();
    assert_eq!(all.iter().map(|function| function.name).collect::<Vec<_>>(), tested);
    for function in all {
        assert!(function.signature.starts_with(&format!("{}(", function.name)), "{}", function.signature);
        assert!(!function.description.is_empty() && !function.description.ends_with('.'), "{}", function.name);
    }
}

#[test]
fn refused_functions_say_why() {
    let refused = functions::all_refused();
    assert!(refused.is_sorted_by(|a, b| a.name < b.name));
    for function in refused {
        let said = support::show(&format!("{}()", function.name));
        let expected = format!("compile: at character 1: {} is not available: {}", function.name, function.reason);
        assert!(said.starts_with(&expected), "{said}");
        assert!(!functions::all().iter().any(|known| known.name == function.name), "{}", function.name);
    }
}
