//! A page as a browser has it: elements, their attributes and their text. Reads what the console's own templates write,
//! and says no to what does not nest.

/// An element and what is in it.
#[derive(Debug, Clone, Default)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    /// Reads a page.
    pub fn parse(html: &str) -> Element {
        let mut open = vec![Element::default()];
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            push_text(&mut open, &rest[..start]);
            rest = &rest[start..];
            let end = tag_end(rest);
            let tag = &rest[1..end];
            rest = &rest[end + 1..];
            if tag.starts_with('!') {
                continue;
            }
            if let Some(name) = tag.strip_prefix('/') {
                let closed = open.pop().unwrap();
                assert_eq!(
                    closed.name,
                    name,
                    "</{name}> ends <{}>: {}",
                    closed.name,
                    head(rest)
                );
                open.last_mut().unwrap().children.push(Node::Element(closed));
                continue;
            }
            let element = start_tag(tag.trim_end_matches('/'));
            if tag.ends_with('/') || VOID.contains(&element.name.as_str()) {
                open.last_mut().unwrap().children.push(Node::Element(element));
            } else {
                open.push(element);
            }
        }
        push_text(&mut open, rest);
        assert_eq!(open.len(), 1, "<{}> is never ended", open.last().unwrap().name);
        open.pop().unwrap()
    }

    /// Every element in it with this name, in the order of the page.
    pub fn all<'a>(&'a self, name: &str) -> Vec<&'a Element> {
        self.descendants()
            .into_iter()
            .filter(|element| element.name == name)
            .collect()
    }

    /// The element with this id.
    pub fn by_id(&self, id: &str) -> Option<&Element> {
        self.descendants()
            .into_iter()
            .find(|element| element.attribute("id") == Some(id))
    }

    /// Every element in it, in the order of the page.
    pub fn descendants(&self) -> Vec<&Element> {
        let mut found = Vec::new();
        for child in &self.children {
            if let Node::Element(element) = child {
                found.push(element);
                found.extend(element.descendants());
            }
        }
        found
    }

    /// What it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An attribute, without its character references.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    /// All of its attributes.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// Whether it has this class.
    pub fn has_class(&self, class: &str) -> bool {
        let classes = self.attribute("class").unwrap_or_default();
        classes.split_ascii_whitespace().any(|one| one == class)
    }

    /// What is read in it, with one space where there is white space or a block begins.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.read(&mut text);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn read(&self, text: &mut String) {
        for child in &self.children {
            match child {
                Node::Text(more) => text.push_str(more),
                Node::Element(element) => {
                    let inline = INLINE.contains(&element.name.as_str());
                    if !inline {
                        text.push(' ');
                    }
                    element.read(text);
                    if !inline {
                        text.push(' ');
                    }
                }
            }
        }
    }
}

fn push_text(open: &mut [Element], text: &str) {
    let text = plain(text);
    if !text.is_empty() {
        open.last_mut().unwrap().children.push(Node::Text(text));
    }
}

/// Where the tag ends that `html` begins with: a `>` in quotes does not end it.
fn tag_end(html: &str) -> usize {
    let mut quoted = false;
    let end = html.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'>' && !quoted
    });
    end.unwrap_or_else(|| panic!("a tag that never ends: {}", head(html)))
}

fn start_tag(tag: &str) -> Element {
    let (name, mut rest) = tag
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((tag, ""));
    assert!(
        name.bytes().all(|b| b.is_ascii_alphanumeric()),
        "<{} is no tag",
        head(tag)
    );
    let mut attributes: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let end = rest
            .find(|c: char| c.is_ascii_whitespace() || c == '=')
            .unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        let value = match rest.strip_prefix("=\"") {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').unwrap();
                rest = after;
                value
            }
            None => "",
        };
        assert!(
            !rest.starts_with('='),
            "{name} has a value without quotes in <{tag}>"
        );
        assert!(
            attributes.iter().all(|(known, _)| known != name),
            "{name} is twice in <{tag}>"
        );
        attributes.push((name.to_owned(), plain(value)));
    }
    Element {
        name: name.to_owned(),
        attributes,
        children: Vec::new(),
    }
}

/// Text without character references.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        let (reference, after) = rest[at + 1..]
            .split_once(';')
            .unwrap_or_else(|| panic!("& that begins no reference: {}", head(&rest[at..])));
        plain.push(match reference {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            number => number
                .strip_prefix('#')
                .and_then(|digits| digits.parse().ok())
                .and_then(char::from_u32)
                .unwrap_or_else(|| panic!("&{number}; is no reference that is known here")),
        });
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn head(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Elements without content.
const VOID: [&str; 6] = ["meta", "link", "input", "br", "img", "hr"];
/// Elements within a line of text.
const INLINE: [&str; 7] = ["a", "b", "bdi", "code", "span", "time", "em"];

#[test]
fn a_page_is_read_as_it_was_written() {
    let page = Element::parse(
        "<!doctype html><main class=\"a b\"><p>1 &#60; 2 &amp; <b>3</b>4</p><p>x<img alt=\"a > b\"></p></main>",
    );
    let main = page.all("main")[0];
    assert!(main.has_class("b") && !main.has_class("c"));
    assert_eq!(main.text(), "1 < 2 & 34 x");
    assert_eq!(page.all("img")[0].attribute("alt"), Some("a > b"));
}
