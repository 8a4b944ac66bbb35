//! A queue that costs a pointer while there is nothing in it: of a million devices nearly all have nothing to say at any
//! moment, and what the others queued once must not stay theirs.

use std::collections::VecDeque;

/// What waits, first in, first out.
#[derive(Debug)]
pub struct Queue<T>(Option<Box<Waiting<T>>>);

/// Behind a thin pointer.
#[derive(Debug)]
struct Waiting<T>(VecDeque<T>);

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self(None)
    }

    pub fn push_back(&mut self, item: T) {
        self.0
            .get_or_insert_with(|| Box::new(Waiting(VecDeque::new())))
            .0
            .push_back(item);
    }

    pub fn pop_front(&mut self) -> Option<T> {
        self.remove(0)
    }

    /// The item at this place from the front.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        let item = self.0.as_mut()?.0.remove(at);
        self.shrink();
        item
    }

    pub fn retain_mut(&mut self, keep: impl FnMut(&mut T) -> bool) {
        if let Some(waiting) = &mut self.0 {
            waiting.0.retain_mut(keep);
            self.shrink();
        }
    }

    /// Leaves an empty queue behind.
    pub fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.0.take().into_iter().flat_map(|waiting| waiting.0)
    }

    pub fn clear(&mut self) {
        self.0 = None;
    }

    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()?.0.front_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|waiting| &waiting.0)
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.0.len())
    }

    fn shrink(&mut self) {
        if self.0.as_ref().is_some_and(|waiting| waiting.0.is_empty()) {
            self.0 = None;
        }
    }
}

impl<T> Extend<T> for Queue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.push_back(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_nothing_is_kept_of_it() {
        let mut queue = Queue::new();
        queue.extend([1, 2, 3, 4]);
        assert_eq!((queue.len(), queue.remove(1)), (4, Some(2)));
        queue.retain_mut(|item| *item != 3);
        assert_eq!((queue.pop_front(), queue.front_mut()), (Some(1), Some(&mut 4)));
        let heap = allocation_counter::measure(|| assert_eq!(queue.pop_front(), Some(4)));
        assert!(heap.bytes_current < 0, "the last one takes the room with it");
        assert_eq!(
            (queue.pop_front(), queue.len(), size_of_val(&queue)),
            (None, 0, 8)
        );
        queue.extend([5, 6]);
        assert_eq!(queue.take().collect::<Vec<_>>(), [5, 6]);
        assert_eq!(queue.iter().next(), None);
    }
}
