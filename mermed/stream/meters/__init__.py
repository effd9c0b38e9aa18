"""What is known of a stream: where its time goes, what it waits for, what it has drawn."""
