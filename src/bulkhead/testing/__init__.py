"""Test doubles and helpers that users of Bulkhead may rely on too."""
