//! A PowerShell script as a tree. Chains are flat lists, so that no text however long makes a deep tree.

use std::rc::Rc;

/// Statements in order.
pub type Block = Rc<Vec<Stmt>>;

/// A statement.
#[derive(Debug)]
pub enum Stmt {
    /// `a | b | c`, with its text.
    Pipe(Vec<Elem>, String),
    /// `$x = …`, `$x.y = …`: target, operator, value.
    Assign(Expr, char, Box<Stmt>),
    /// Conditions with their blocks, and what is done otherwise.
    If(Vec<(Stmt, Block)>, Option<Block>),
    /// `foreach ($x in …) { … }`
    Each(String, Box<Stmt>, Block),
    /// `for (start; condition; step) { … }`; `while` has a condition only.
    For(Option<Box<Stmt>>, Option<Box<Stmt>>, Option<Box<Stmt>>, Block),
    /// `switch (…) { value { … } }`
    Switch(Box<Stmt>, Vec<(Expr, Block)>),
    /// `try { … } finally { … }`: what stands in `catch` is for a failure.
    Try(Block, Option<Block>),
    /// A function: name, parameters with defaults, body.
    Function(String, Vec<(String, Option<Expr>)>, Block),
    /// Statements that stand in braces of their own (`begin`, `process`, `end`).
    Nested(Block),
    /// `return`, `throw`, `exit`, `break`, `continue`.
    Leave(Leave, Option<Box<Stmt>>),
}

/// How a block is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The function.
    Return,
    /// The script, by an error or by wish.
    Exit,
    /// The loop.
    Break,
    /// This round.
    Continue,
}

/// A part of a pipe.
#[derive(Debug)]
pub enum Elem {
    /// A command.
    Command(Command),
    /// An expression.
    Value(Expr),
}

/// A command as written.
#[derive(Debug)]
pub struct Command {
    /// Its words, the first is the name.
    pub words: Vec<Word>,
    /// File that `>` names.
    pub into: Option<Expr>,
}

/// A word of a command.
#[derive(Debug)]
pub enum Word {
    /// An argument.
    Value(Expr),
    /// `-Name` or `-Name:value`.
    Param(String, Option<Expr>),
    /// `@name`
    Splat(String),
}

/// An expression.
#[derive(Debug)]
pub enum Expr {
    /// Text with what is filled in.
    Text(Vec<Piece>),
    /// A number.
    Number(f64),
    /// A variable, in lower case, with its scope when that is `env`.
    Var(String),
    /// `$( … )`, `@( … )`, `( … )`: what is in it.
    Group(Block),
    /// `{ … }` with its text.
    Script(String, Block),
    /// `[name]`
    Type(String),
    /// Something with members, indexes and calls after it.
    Post(Box<Expr>, Vec<Suffix>),
    /// Operands and operators of one level.
    Chain(Box<Expr>, Vec<(String, Expr)>),
    /// An operator before its operand.
    Unary(String, Box<Expr>),
    /// `[type]…`
    Cast(String, Box<Expr>),
    /// `a, b, c`
    List(Vec<Expr>),
    /// `@{ name = … }`
    Table(Vec<(String, Stmt)>),
}

/// What may follow a value.
#[derive(Debug)]
pub enum Suffix {
    /// `.name`, `::name`; with arguments when it is called.
    Member(Box<Expr>, Option<Vec<Expr>>),
    /// `[…]`
    Index(Box<Expr>),
}

/// A piece of a text.
#[derive(Debug)]
pub enum Piece {
    /// As it is.
    Lit(String),
    /// A variable.
    Var(String),
    /// `$( … )`
    Sub(Block),
}

impl Expr {
    /// A text without anything to fill in.
    pub fn text(text: impl Into<String>) -> Expr {
        Expr::Text(vec![Piece::Lit(text.into())])
    }
}
