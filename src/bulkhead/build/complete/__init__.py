"""Completes a root from data: what maintainer scripts would have done, without running them."""
