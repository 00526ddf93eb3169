"""What a person looks at: contact sheets, outlines, plates."""
