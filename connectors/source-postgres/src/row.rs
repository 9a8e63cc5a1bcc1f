//! Rows as the server's binary COPY sends them, written out as JSON without a tree.
